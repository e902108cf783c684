"""Settings by environment: every OHLCV_… variable there is, read and checked in one place."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ohlcv.model.errors import InputError
from ohlcv.model.timeframes import TIMEFRAMES, Retention, Timeframe
from ohlcv.model.timeframes import timeframe as registered

# Those of an S3 store.
S3_NAMES = (
    "OHLCV_S3_ENDPOINT",
    "OHLCV_S3_REGION",
    "OHLCV_S3_ACCESS_KEY",
    "OHLCV_S3_SECRET_KEY",
    "OHLCV_S3_SECRET_KEY_FILE",
)
# Variables that stand for themselves. Those of `Tuning` come on top, for all timeframes (OHLCV_EXECUTOR_MEMORY)
# or for one (OHLCV_1D_EXECUTOR_MEMORY).
PLAIN_NAMES = (
    "OHLCV_HOME",
    "OHLCV_CATALOG_URI",
    "OHLCV_CATALOG_PASSWORD",
    "OHLCV_CATALOG_PASSWORD_FILE",
    "OHLCV_CATALOG_TOKEN",
    "OHLCV_CATALOG_TOKEN_FILE",
    "OHLCV_WAREHOUSE",
    *S3_NAMES,
    "OHLCV_SPARK_MASTER",
    "OHLCV_SPARK_SECRET",
    "OHLCV_SPARK_SECRET_FILE",
    "OHLCV_SPARK_WEB",
    "OHLCV_SPARK_WORKERS",
    "OHLCV_AIRFLOW_URL",
    "OHLCV_AIRFLOW_USER",
    "OHLCV_AIRFLOW_PASSWORD",
    "OHLCV_AIRFLOW_PASSWORD_FILE",
    "OHLCV_VALIDATION_RUNTIME",
    "OHLCV_VALIDATION_IMAGE",
    "OHLCV_VALIDATION_NETWORK",
    "OHLCV_ALERT_EMAIL",
    "OHLCV_RUNBOOK_URL",
    "OHLCV_JARS",
)


# Trades to mend old hours with, per second of a timeframe's time target. A cold core reads and compares some 75,000
# a second: a fifth of the target, so that a run in the middle of a repair still meets it.
REPAIR_SHARE = 15_000


@dataclass(frozen=True)
class Tuning:
    """What a site may set for the Spark job of one timeframe."""

    # Minutes; replaces the registry's lookback.
    lookback_minutes: int | None = None
    # Seconds; replaces the registry's time target.
    time_target_seconds: int | None = None
    # Seconds; replaces the registry's deadline.
    deadline_seconds: int | None = None
    # Days; replaces the registry's retention.
    retention_days: int | None = None
    executor_cores: int = 1
    executor_memory: str = "1024m"
    driver_memory: str = "512m"
    # One core sorts a run's few candles faster in one partition than in the 200 Spark would make.
    shuffle_partitions: int = 1
    # Trades a scheduled run may read on top of its own range to mend old hours; by itself REPAIR_SHARE says.
    repair_trades: int | None = None

    def __post_init__(self) -> None:
        for name in (
            "executor_cores",
            "shuffle_partitions",
            "repair_trades",
            "lookback_minutes",
            "time_target_seconds",
            "deadline_seconds",
            "retention_days",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be 1 or more, not {value}")
        for name in ("executor_memory", "driver_memory"):
            value = getattr(self, name)
            if not re.fullmatch(r"[1-9][0-9]*[mg]", value) or _megabytes(value) < 512:
                raise InputError(f"{name} must be 512m or more, as in 1024m or 2g, not '{value}'")


@dataclass(frozen=True)
class CatalogAddress:
    """Which database or REST service holds the catalog. Never the password or token: those travel on their own."""

    engine: Literal["sqlite", "postgresql", "rest"]
    # The database's name or file; of a REST catalog its whole address.
    database: str
    host: str = ""
    port: int = 5432
    user: str = ""
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        if self.engine == "sqlite":
            return f"sqlite:///{self.database}"
        if self.engine == "rest":
            return self.database
        return f"postgresql://{self.user}@{self.host}:{self.port}/{self.database}"


@dataclass(frozen=True)
class S3Store:
    """Where an S3 store is, and who asks. Without keys the SDKs look for some: variables of AWS, an instance's role."""

    # None: AWS itself.
    endpoint: str | None
    region: str
    access_key: str | None
    secret_key: str | None = dataclasses.field(repr=False)

    def __str__(self) -> str:
        return self.endpoint or f"AWS S3 in {self.region}"


@dataclass(frozen=True)
class AirflowAddress:
    """Where Airflow's REST interface is, and who asks."""

    url: str
    user: str
    password: str = dataclasses.field(repr=False)


@dataclass(frozen=True)
class Validation:
    """Where the DAGs' validation runs: in Airflow's worker, or in a container of the project's image."""

    runtime: Literal["worker", "docker"]
    image: str
    # The container network from which catalog and store are reached; the engine's default where none is given.
    network: str | None


@dataclass(frozen=True)
class Settings:
    """Where things are, and how much a job may use."""

    home: Path
    catalog: CatalogAddress
    catalog_password: str | None = dataclasses.field(repr=False)
    # The bearer's token of a REST catalog.
    catalog_token: str | None = dataclasses.field(repr=False)
    # A file:// or s3:// location. A REST catalog may know it by a name, or have one of its own (the empty text).
    warehouse: str
    # Where the files are, unless they are on this machine.
    store: S3Store | None
    spark_master: str | None
    # Who does not know it is refused by master, workers and executors; without one, anybody is let in.
    spark_secret: str | None = dataclasses.field(repr=False)
    # The master's page, where people and the health check reach it, and how many workers it should have.
    spark_web: str | None
    spark_workers: int
    # Where run history is asked for.
    airflow: AirflowAddress | None
    validation: Validation
    # Who is told by email.
    alert_email: tuple[str, ...]
    tuning: Mapping[str, Tuning]

    def timeframe(self, name: str) -> Timeframe:
        """Give a timeframe of the registry with this site's tuning applied."""
        found = registered(name)
        tuning = self.tuning[name]
        if tuning.lookback_minutes is not None:
            if tuning.lookback_minutes * timedelta(minutes=1) < found.length:
                raise InputError(f"the lookback of {name} must hold at least one window")
            found = dataclasses.replace(found, lookback=tuning.lookback_minutes * timedelta(minutes=1))
        if tuning.time_target_seconds is not None:
            found = dataclasses.replace(found, time_target=tuning.time_target_seconds * timedelta(seconds=1))
        if tuning.retention_days is not None:
            found = dataclasses.replace(found, retention=Retention(days=tuning.retention_days))
        if tuning.deadline_seconds is not None:
            found = dataclasses.replace(found, deadline=tuning.deadline_seconds * timedelta(seconds=1))
        return found

    def repair_trades(self, name: str) -> int:
        """Give the trades a scheduled run of a timeframe may read to mend old hours."""
        own = self.tuning[name].repair_trades
        return own if own is not None else int(self.timeframe(name).time_target.total_seconds() * REPAIR_SHARE)


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; a name or value that cannot be meant is refused here, before anything starts."""
    values = os.environ if environment is None else environment
    tuning_names = {
        f"OHLCV_{prefix}{name.upper()}": (timeframe, name)
        for timeframe, prefix in [(None, ""), *((name, f"{name.upper()}_") for name in TIMEFRAMES)]
        for name in (field.name for field in dataclasses.fields(Tuning))
    }
    known = {*PLAIN_NAMES, *tuning_names}
    for name in sorted(name for name in values if name.startswith("OHLCV_") and name not in known):
        near = difflib.get_close_matches(name, known, n=1)
        raise InputError(f"unknown setting {name}" + (f": did you mean {near[0]}?" if near else ""))

    home = Path(values.get("OHLCV_HOME") or ".ohlcv").absolute()
    catalog = _catalog_address(values.get("OHLCV_CATALOG_URI"), home)
    warehouse = _warehouse(values.get("OHLCV_WAREHOUSE"), home, catalog)
    settings = Settings(
        home=home,
        catalog=catalog,
        catalog_password=_catalog_secret(values, "OHLCV_CATALOG_PASSWORD", catalog),
        catalog_token=_catalog_secret(values, "OHLCV_CATALOG_TOKEN", catalog),
        warehouse=warehouse,
        store=_store(values, catalog, warehouse),
        spark_master=values.get("OHLCV_SPARK_MASTER") or None,
        spark_secret=_secret(values, "OHLCV_SPARK_SECRET"),
        spark_web=_web_address(values, "OHLCV_SPARK_WEB"),
        spark_workers=_count(values, "OHLCV_SPARK_WORKERS", 1),
        airflow=_airflow_address(values),
        validation=_validation(values),
        alert_email=_recipients(values.get("OHLCV_ALERT_EMAIL")),
        tuning={
            timeframe: _tuning(
                {
                    field: values[name]
                    # General names come first in `tuning_names`, so that a timeframe's own value wins.
                    for name, (of, field) in tuning_names.items()
                    if of in (None, timeframe) and values.get(name)
                }
            )
            for timeframe in TIMEFRAMES
        },
    )
    for name in TIMEFRAMES:
        settings.timeframe(name)
    return settings


def _tuning(values: Mapping[str, str]) -> Tuning:
    typed: dict[str, int | str] = {}
    for name, text in values.items():
        if name.endswith("_memory"):
            typed[name] = text
            continue
        try:
            typed[name] = int(text)
        except ValueError:
            raise InputError(f"{name} must be a whole number, not '{text}'") from None
    return Tuning(**typed)  # type: ignore[arg-type]  # the names and types are those of the fields above


def _catalog_address(text: str | None, home: Path) -> CatalogAddress:
    if not text:
        return CatalogAddress("sqlite", str(home / "catalog.db"))
    try:
        parts: SplitResult = urlsplit(text)
        port = parts.port or 5432
    except ValueError:
        raise InputError("OHLCV_CATALOG_URI is not an address such as postgresql://user@host:5432/database") from None
    if parts.scheme == "sqlite":
        if len(parts.path) < 2:
            raise InputError("OHLCV_CATALOG_URI names no file: write sqlite:////folder/catalog.db")
        return CatalogAddress("sqlite", str(Path(unquote(parts.path[1:])).absolute()))
    if parts.scheme not in ("postgresql", "http", "https"):
        raise InputError(f"OHLCV_CATALOG_URI starts with '{parts.scheme}': use sqlite, postgresql, http or https")
    if parts.scheme != "postgresql":
        return _rest_address(text, parts)
    if parts.password is not None:
        raise InputError("OHLCV_CATALOG_URI carries a password: give it by OHLCV_CATALOG_PASSWORD or …_FILE instead")
    if not parts.hostname or not parts.username or len(parts.path) < 2:
        raise InputError("OHLCV_CATALOG_URI must name user, host and database: postgresql://user@host:5432/database")
    return CatalogAddress(
        "postgresql",
        unquote(parts.path[1:]),
        parts.hostname,
        port,
        unquote(parts.username),
        tuple(parse_qsl(parts.query)),
    )


def _rest_address(text: str, parts: SplitResult) -> CatalogAddress:
    if parts.username is not None or parts.password is not None:
        raise InputError("OHLCV_CATALOG_URI carries a user: a REST catalog takes OHLCV_CATALOG_TOKEN or …_FILE instead")
    if not parts.hostname:
        raise InputError("OHLCV_CATALOG_URI must name a host: http://host:19120/iceberg")
    return CatalogAddress("rest", text.rstrip("/"))


def _catalog_secret(values: Mapping[str, str], name: str, catalog: CatalogAddress) -> str | None:
    secret = _secret(values, name)
    kind = {"OHLCV_CATALOG_PASSWORD": "postgresql", "OHLCV_CATALOG_TOKEN": "rest"}[name]
    if secret is not None and catalog.engine != kind:
        wanted = {"postgresql": "a PostgreSQL catalog", "rest": "a REST catalog"}[kind]
        raise InputError(f"{name} is for {wanted}, but OHLCV_CATALOG_URI leads to {catalog}: remove it")
    return secret


def _airflow_address(values: Mapping[str, str]) -> AirflowAddress | None:
    url = _web_address(values, "OHLCV_AIRFLOW_URL")
    if url is None:
        return None
    user, password = values.get("OHLCV_AIRFLOW_USER"), _secret(values, "OHLCV_AIRFLOW_PASSWORD")
    if not user or not password:
        raise InputError("OHLCV_AIRFLOW_URL needs OHLCV_AIRFLOW_USER and OHLCV_AIRFLOW_PASSWORD (or …_FILE) beside it")
    return AirflowAddress(url, user, password)


def _validation(values: Mapping[str, str]) -> Validation:
    runtime = values.get("OHLCV_VALIDATION_RUNTIME") or "worker"
    if runtime not in ("worker", "docker"):
        raise InputError(f"OHLCV_VALIDATION_RUNTIME is '{runtime}': use worker or docker")
    return Validation(
        runtime,  # type: ignore[arg-type]  # one of the two, as was just seen
        values.get("OHLCV_VALIDATION_IMAGE") or "ohlcv:latest",
        values.get("OHLCV_VALIDATION_NETWORK") or None,
    )


def _recipients(text: str | None) -> tuple[str, ...]:
    found = tuple(filter(None, (part.strip() for part in (text or "").split(","))))
    for address in found:
        if not re.fullmatch(r"[^@\s]+@[^@\s]+", address):
            raise InputError(f"OHLCV_ALERT_EMAIL has '{address}', which is no address such as you@example.com")
    return found


def _web_address(values: Mapping[str, str], name: str) -> str | None:
    text = values.get(name)
    if not text:
        return None
    # Not urlsplit: it takes a port that is none without a word.
    if not re.fullmatch(
        r"https?://[^\s/@:?#]+(:[0-9]{1,5})?(/[^\s?#]*)?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?/?", text
    ):
        raise InputError(f"{name} is '{text}': give an address such as http://host:8080")
    return text.rstrip("/")


def _count(values: Mapping[str, str], name: str, default: int) -> int:
    text = values.get(name) or str(default)
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"{name} must be a whole number of 1 or more, not '{text}'")
    return int(text)


def _warehouse(text: str | None, home: Path, catalog: CatalogAddress) -> str:
    scheme, mark, rest = (text or "").partition("://")
    if mark and scheme == "s3":
        bucket, _, key = rest.rstrip("/").partition("/")
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket) or re.search(r"[?#%]|//", key):
            raise InputError(f"OHLCV_WAREHOUSE is '{text}': give s3://bucket/prefix, without ?, # or %")
        return f"s3://{rest.rstrip('/')}"
    if catalog.engine == "rest":
        # The service says where its tables lie; this picks one of its warehouses.
        return text or ""
    text = text or str(home / "warehouse")
    if mark and scheme != "file":
        raise InputError(f"OHLCV_WAREHOUSE is '{text}': give a folder, its file:// address or s3://bucket/prefix")
    # Not as_uri(): Spark and pyiceberg take a %20 in a location for what it says, not for a space.
    return text.rstrip("/") if mark else f"file://{Path(text).absolute()}"


def _store(values: Mapping[str, str], catalog: CatalogAddress, warehouse: str) -> S3Store | None:
    given = [name for name in S3_NAMES if values.get(name)]
    if not warehouse.startswith("s3://"):
        if not given:
            return None
        # What a REST catalog calls a warehouse may lie in a store of ours.
        if catalog.engine != "rest":
            raise InputError(f"{given[0]} is set, but OHLCV_WAREHOUSE is {warehouse}: give s3://bucket/prefix")
    access_key, secret_key = values.get("OHLCV_S3_ACCESS_KEY") or None, _secret(values, "OHLCV_S3_SECRET_KEY")
    if (access_key is None) != (secret_key is None):
        lacks = "OHLCV_S3_ACCESS_KEY" if access_key is None else "OHLCV_S3_SECRET_KEY (or …_FILE)"
        raise InputError(f"{lacks} is missing: an S3 store takes both keys, or none to have the SDK look for them")
    return S3Store(
        _web_address(values, "OHLCV_S3_ENDPOINT"), values.get("OHLCV_S3_REGION") or "us-east-1", access_key, secret_key
    )


def _secret(values: Mapping[str, str], name: str) -> str | None:
    if path := values.get(f"{name}_FILE"):
        try:
            # An empty file is no secret: a deployment hands out files for all of them, whatever a site uses.
            return Path(path).read_text().strip() or None
        except OSError as error:
            raise InputError(f"{name}_FILE cannot be read: {error.strerror}") from None
    return values.get(name) or None


def _megabytes(text: str) -> int:
    return int(text[:-1]) * (1024 if text.endswith("g") else 1)
