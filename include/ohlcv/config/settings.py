"""Settings from environment variables. All OHLCV_… variables are read and validated here."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Literal

from ohlcv.config.candle_api import API_NAMES, ApiSettings, api_settings
from ohlcv.config.catalogs.adapters import Catalog
from ohlcv.config.catalogs.loading import CATALOG_NAMES, load_catalog
from ohlcv.config.execution import Mode, execution_mode, is_native_permitted
from ohlcv.config.reconciliation import RECONCILIATION_NAMES, ReconciliationSettings, reconciliation_settings
from ohlcv.config.storage import S3Store, home_folder
from ohlcv.config.table_names import TABLE_NAMES, check_plain_names, table_names
from ohlcv.config.values import (
    check_characters,
    check_runbook,
    enabled_timeframes,
    megabytes,
    recipients,
    secret,
    spark_master,
    web_address,
    whole_number,
)
from ohlcv.model.errors import InputError
from ohlcv.model.table_contracts import (
    TableContract,
    candles_contract,
    contracts,
    coverage_contract,
    coverage_notes_contract,
    publications_contract,
    reconciliation_contract,
    revisions_contract,
    trades_contract,
)
from ohlcv.model.table_names import TableNames
from ohlcv.model.timeframes import TIMEFRAMES, Retention, Timeframe, check_enabled
from ohlcv.model.trade_mapping import DEFAULT_MAPPING, TradeMapping

# Variables that do not depend on a timeframe. The fields of `Tuning` add variables for all timeframes
# (OHLCV_EXECUTOR_MEMORY) and for one timeframe (OHLCV_1D_EXECUTOR_MEMORY).
GENERAL_NAMES = (
    "OHLCV_HOME",
    *CATALOG_NAMES,
    *TABLE_NAMES,
    "OHLCV_TIMEFRAMES",
    "OHLCV_TRADES_MAPPING",
    "OHLCV_SPARK_MASTER",
    "OHLCV_SPARK_SECRET",
    "OHLCV_SPARK_SECRET_FILE",
    "OHLCV_SPARK_WEB",
    "OHLCV_SPARK_WORKERS",
    "OHLCV_AIRFLOW_URL",
    "OHLCV_AIRFLOW_USER",
    "OHLCV_AIRFLOW_PASSWORD",
    "OHLCV_AIRFLOW_PASSWORD_FILE",
    *API_NAMES,
    "OHLCV_VALIDATION_RUNTIME",
    "OHLCV_VALIDATION_IMAGE",
    "OHLCV_VALIDATION_NETWORK",
    *RECONCILIATION_NAMES,
    "OHLCV_ALERT_EMAIL",
    "OHLCV_RUNBOOK_URL",
    "OHLCV_JARS",
    "OHLCV_JAR_SETS",
    "OHLCV_NATIVE",
    "OHLCV_REPROCESS_EXECUTION",
)


# Largest accepted numbers: times that are computed from them are valid dates, and Spark accepts the counts.
MAXIMA = {
    "lookback_minutes": 5_256_000,  # ten years
    "time_target_seconds": 86_400,
    "deadline_seconds": 604_800,
    "timeout_seconds": 86_400,
    "retention_days": 36_500,
    "executor_cores": 1_024,
    "shuffle_partitions": 100_000,
    "repair_trades": 10**12,
}
MAX_WORKERS = 100_000
MIN_MEGABYTES, MAX_MEGABYTES = 512, 1_048_576

# Default trade budget for pending hours, per second of the time target. One core without warm caches reads and
# compares about 75,000 trades per second, so rebuilding takes a fifth of the target and the run still meets it.
BUDGET_PER_TARGET_SECOND = 15_000


@dataclass(frozen=True)
class Tuning:
    """Settings of the Spark job of one timeframe. The field names are part of the variable names."""

    # Minutes. Replaces the lookback of the registry.
    lookback_minutes: int | None = None
    # Seconds. Replaces the time target of the registry.
    time_target_seconds: int | None = None
    # Seconds. Replaces the deadline of the registry.
    deadline_seconds: int | None = None
    # Time after which Airflow ends the job or the validation of a run.
    timeout_seconds: int = 300
    # Days. Replaces the retention of the registry.
    retention_days: int | None = None
    executor_cores: int = 1
    executor_memory: str = "1024m"
    driver_memory: str = "512m"
    # A run has few candles: one core sorts them faster in one partition than in Spark's default of 200.
    shuffle_partitions: int = 1
    # Trades that a scheduled run may read in addition to its own range to rebuild pending hours. The default follows
    # from the time target (`Settings.trade_budget`).
    repair_trades: int | None = None
    # Whether candles are recomputed before they are published, or only by the validation task afterwards.
    audit: Literal["before", "after"] = "before"
    # Memory of the recomputation in the driver's process, in addition to the driver's memory.
    audit_memory: str = "1024m"
    # A run with a larger share of series that fail the audit, without those already held, publishes nothing.
    held_percent: int = 5
    # Engine that aggregates the trades. Reprocessing has a setting of its own.
    execution: Mode = "jvm"


@dataclass(frozen=True)
class AirflowAddress:
    """Address and user of the REST API of Airflow."""

    url: str
    user: str
    password: str = dataclasses.field(repr=False)


@dataclass(frozen=True)
class Validation:
    """Where the DAGs run the validation: in the Airflow worker or in a container of the project's image."""

    runtime: Literal["worker", "docker"]
    image: str
    # Container network with access to catalog and store. None for the default network of the engine.
    network: str | None


@dataclass(frozen=True)
class Settings:
    """All settings: addresses, credentials and the tuning of the jobs."""

    home: Path
    catalog: Catalog
    names: TableNames
    # Names of the enabled timeframes, in order of length. `timeframes` has everything else about them.
    enabled: tuple[str, ...]
    # Columns of the trades table.
    trades_mapping: TradeMapping
    spark_master: str | None
    # Shared secret of master, workers and executors. Without one they accept every connection.
    spark_secret: str | None = dataclasses.field(repr=False)
    # Web page of the master, used by people and by the health check, and the expected number of workers.
    spark_web: str | None
    spark_workers: int
    # Source of the run history. None if there is no access to Airflow.
    airflow: AirflowAddress | None
    api: ApiSettings
    validation: Validation
    reconciliation: ReconciliationSettings
    # Recipients of notifications by email.
    alert_email: tuple[str, ...]
    # Of all known timeframes.
    tuning: Mapping[str, Tuning]
    reprocess_execution: Mode
    # Whether native execution is permitted where it is requested.
    native: bool

    @property
    def reprocess_tuning(self) -> Tuning:
        """Return the tuning of reprocessing, which reads whole days: that of the longest enabled timeframe."""
        return dataclasses.replace(self.tuning[self.enabled[-1]], execution=self.reprocess_execution)

    @property
    def warehouse(self) -> str:
        """Return the location of the tables: a file:// or s3:// location, or for a service also a name or empty."""
        return self.catalog.warehouse

    @property
    def store(self) -> S3Store | None:
        """Return the S3 store of the tables, None if the files are on this machine or the service describes it."""
        return self.catalog.store

    @cached_property
    def timeframes(self) -> Mapping[str, Timeframe]:
        """Return the enabled timeframes by name, in order of length, with their tuning applied."""
        return {name: _tuned(TIMEFRAMES[name], self.tuning[name]) for name in self.enabled}

    @property
    def retained_timeframes(self) -> list[Timeframe]:
        """Return all timeframes with their retention. The candles of one that is no longer enabled remain."""
        return [_with_retention(timeframe, self.tuning[name]) for name, timeframe in TIMEFRAMES.items()]

    def timeframe(self, name: str) -> Timeframe:
        """Return an enabled timeframe. Raise InputError for another one."""
        check_enabled(name, self.enabled)
        return self.timeframes[name]

    @property
    def trades_contract(self) -> TableContract:
        """Return the contract of the trades table."""
        return trades_contract(self.names, self.trades_mapping)

    def candles_contract(self, timeframe: Timeframe) -> TableContract:
        """Return the contract of the candle table of a timeframe."""
        return candles_contract(self.names, timeframe)

    @property
    def publications_contract(self) -> TableContract:
        """Return the contract of the ledger's table of publications."""
        return publications_contract(self.names)

    @property
    def revisions_contract(self) -> TableContract:
        """Return the contract of the ledger's table of revisions."""
        return revisions_contract(self.names)

    @property
    def coverage_contract(self) -> TableContract:
        """Return the contract of the table of the coverage."""
        return coverage_contract(self.names)

    @property
    def coverage_notes_contract(self) -> TableContract:
        """Return the contract of the table of notes on the coverage."""
        return coverage_notes_contract(self.names)

    @property
    def reconciliation_contract(self) -> TableContract:
        """Return the contract of the table of comparisons with published candles."""
        return reconciliation_contract(self.names)

    def contracts(self) -> Iterator[TableContract]:
        """Return the contracts of all tables: trades, candles, the ledger, coverage and reconciliation."""
        return contracts(self.names, self.timeframes.values(), self.trades_mapping)

    def trade_budget(self, name: str) -> int:
        """Return the number of trades that a scheduled run may read to rebuild pending hours."""
        budget = self.tuning[name].repair_trades
        return (
            budget
            if budget is not None
            else int(self.timeframe(name).time_target.total_seconds() * BUDGET_PER_TARGET_SECOND)
        )


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings. Raise InputError for an unknown name or an invalid value."""
    values = os.environ if environment is None else environment
    tuning_names = {
        f"OHLCV_{prefix}{name.upper()}": (timeframe, name)
        for timeframe, prefix in [(None, ""), *((name, f"{name.upper()}_") for name in TIMEFRAMES)]
        for name in (field.name for field in dataclasses.fields(Tuning))
    }
    known = {*GENERAL_NAMES, *tuning_names}
    for name in sorted(name for name in values if name.startswith("OHLCV_") and name not in known):
        near = difflib.get_close_matches(name, known, n=1)
        raise InputError(f"unknown setting {name}" + (f": did you mean {near[0]}?" if near else ""))

    for name in sorted(known & values.keys()):
        check_characters(name, values[name], is_secret=f"{name}_FILE" in known)
    check_runbook(values)
    home = home_folder(values.get("OHLCV_HOME"))
    settings = Settings(
        home=home,
        catalog=load_catalog(values, home),
        names=table_names(values),
        enabled=enabled_timeframes(values),
        trades_mapping=_trades_mapping(values),
        spark_master=spark_master(values),
        spark_secret=secret(values, "OHLCV_SPARK_SECRET"),
        spark_web=web_address(values, "OHLCV_SPARK_WEB"),
        spark_workers=whole_number("OHLCV_SPARK_WORKERS", values.get("OHLCV_SPARK_WORKERS") or "1", MAX_WORKERS),
        airflow=_airflow_address(values),
        api=api_settings(values),
        validation=_validation(values),
        reconciliation=reconciliation_settings(values),
        alert_email=recipients(values.get("OHLCV_ALERT_EMAIL")),
        tuning={
            timeframe: _tuning(
                {
                    field: (name, values[name])
                    # Names for all timeframes come first in `tuning_names`, so that the value for one overrides them.
                    for name, (scope, field) in tuning_names.items()
                    if scope in (None, timeframe) and values.get(name)
                }
            )
            for timeframe in TIMEFRAMES
        },
        reprocess_execution=execution_mode(
            "OHLCV_REPROCESS_EXECUTION", values.get("OHLCV_REPROCESS_EXECUTION") or "native"
        ),
        native=is_native_permitted(values.get("OHLCV_NATIVE")),
    )
    if settings.catalog.has_plain_names:
        check_plain_names(settings.names, f"{settings.catalog.kind} catalog")
    # Raises an error if the tuning of an enabled timeframe does not fit it.
    _ = settings.timeframes
    return settings


def _tuned(timeframe: Timeframe, tuning: Tuning) -> Timeframe:
    """Return a timeframe with its tuning applied."""
    found = timeframe
    if tuning.lookback_minutes is not None:
        if tuning.lookback_minutes * timedelta(minutes=1) < found.length:
            raise InputError(f"the lookback of {timeframe} must contain at least one window")
        found = dataclasses.replace(found, lookback=tuning.lookback_minutes * timedelta(minutes=1))
    if tuning.time_target_seconds is not None:
        found = dataclasses.replace(found, time_target=tuning.time_target_seconds * timedelta(seconds=1))
    if tuning.deadline_seconds is not None:
        found = dataclasses.replace(found, deadline=tuning.deadline_seconds * timedelta(seconds=1))
    return _with_retention(found, tuning)


def _with_retention(timeframe: Timeframe, tuning: Tuning) -> Timeframe:
    if tuning.retention_days is None:
        return timeframe
    return dataclasses.replace(timeframe, retention=Retention(days=tuning.retention_days))


def _tuning(values: Mapping[str, tuple[str, str]]) -> Tuning:
    """Return the tuning of a timeframe, given the variable and its value for each field."""
    typed = {field: _tuning_value(field, name, text) for field, (name, text) in values.items()}
    return Tuning(**typed)  # type: ignore[arg-type]  # names and types are those of the fields


def _tuning_value(field: str, name: str, text: str) -> int | str:
    if field == "audit":
        if text not in ("before", "after"):
            raise InputError(f"{name} is '{text[:50]}': use before or after")
        return text
    if field == "execution":
        return execution_mode(name, text)
    if field == "held_percent":
        return whole_number(name, text, 100, minimum=0)
    return whole_number(name, text, MAXIMA[field]) if field in MAXIMA else _memory(name, text)


def _airflow_address(values: Mapping[str, str]) -> AirflowAddress | None:
    url = web_address(values, "OHLCV_AIRFLOW_URL")
    if url is None:
        return None
    user, password = values.get("OHLCV_AIRFLOW_USER"), secret(values, "OHLCV_AIRFLOW_PASSWORD")
    if not user or not password:
        raise InputError(
            "OHLCV_AIRFLOW_URL needs OHLCV_AIRFLOW_USER and OHLCV_AIRFLOW_PASSWORD (or …_FILE): set them too"
        )
    return AirflowAddress(url, user, password)


def _trades_mapping(values: Mapping[str, str]) -> TradeMapping:
    path = values.get("OHLCV_TRADES_MAPPING")
    if not path:
        return DEFAULT_MAPPING
    # Imported here, because it imports PyYAML.
    from ohlcv.config.mapping_file import read_mapping

    return read_mapping(Path(path), "OHLCV_TRADES_MAPPING")


def _validation(values: Mapping[str, str]) -> Validation:
    runtime = values.get("OHLCV_VALIDATION_RUNTIME") or "worker"
    if runtime not in ("worker", "docker"):
        raise InputError(f"OHLCV_VALIDATION_RUNTIME is '{runtime}': use worker or docker")
    return Validation(
        runtime,  # type: ignore[arg-type]  # checked above
        values.get("OHLCV_VALIDATION_IMAGE") or "ohlcv:latest",
        values.get("OHLCV_VALIDATION_NETWORK") or None,
    )


def _memory(name: str, text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,6}[mg]", text) or not MIN_MEGABYTES <= megabytes(text) <= MAX_MEGABYTES:
        raise InputError(f"{name} must be from 512m to 1024g, as in 1024m or 2g, not '{text[:50]}'")
    return text
