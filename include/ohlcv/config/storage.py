"""Settings of the catalog and of the object store."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ohlcv.config.values import has_scheme, is_web_address, local_path, redacted, secret, web_address
from ohlcv.model.errors import InputError

# Environment variables of an S3 store.
S3_NAMES = (
    "OHLCV_S3_ENDPOINT",
    "OHLCV_S3_REGION",
    "OHLCV_S3_ACCESS_KEY",
    "OHLCV_S3_SECRET_KEY",
    "OHLCV_S3_SECRET_KEY_FILE",
)
# Options of a PostgreSQL connection that are secrets. `passfile` and `sslkey` name files.
_CREDENTIAL_OPTION = re.compile(r"(?i)password|passwd|pwd|secret|token")


@dataclass(frozen=True)
class CatalogAddress:
    """Address of the database or REST service that contains the catalog, without password or token."""

    engine: Literal["sqlite", "postgresql", "rest"]
    # Database name, SQLite file, or the complete URL of a REST catalog.
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
    """Address and keys of an S3 store. Without keys the SDKs use the default credential chain of AWS."""

    # None for AWS.
    endpoint: str | None
    region: str
    access_key: str | None
    secret_key: str | None = dataclasses.field(repr=False)

    def __str__(self) -> str:
        return self.endpoint or f"AWS S3 in {self.region}"


def home_folder(text: str | None) -> Path:
    """Return the absolute path of the folder of the embedded catalog and warehouse."""
    if text and has_scheme(text):
        raise InputError(f"OHLCV_HOME is '{redacted(text)}': give a folder")
    return Path(local_path("OHLCV_HOME", _absolute("OHLCV_HOME", text or ".ohlcv")))


def _absolute(name: str, path: str) -> str:
    try:
        return str(Path(path).absolute())
    except FileNotFoundError:
        raise InputError(f"the working directory does not exist any more: set {name} to an absolute path") from None


def catalog_address(text: str | None, home: Path) -> CatalogAddress:
    """Return the parsed address of the catalog, by default that of the embedded SQLite catalog in `home`."""
    if not text:
        return CatalogAddress("sqlite", str(home / "catalog.db"))
    try:
        parts: SplitResult = urlsplit(text)
        port = parts.port or 5432
    except ValueError:
        raise InputError("OHLCV_CATALOG_URI is not an address such as postgresql://user@host:5432/database") from None
    if parts.scheme in ("http", "https"):
        return _rest_address(text)
    if parts.scheme == "sqlite":
        return _sqlite_address(parts)
    if parts.scheme != "postgresql":
        raise InputError(f"OHLCV_CATALOG_URI is '{redacted(text)}': use sqlite, postgresql, http or https")
    options = tuple(parse_qsl(parts.query))
    if parts.password is not None or any(_CREDENTIAL_OPTION.search(name) for name, _ in options):
        raise InputError("OHLCV_CATALOG_URI contains a password: set OHLCV_CATALOG_PASSWORD or …_FILE instead")
    if not parts.hostname or not parts.username or len(parts.path) < 2 or parts.fragment:
        raise InputError("OHLCV_CATALOG_URI must name user, host and database: postgresql://user@host:5432/database")
    return CatalogAddress("postgresql", unquote(parts.path[1:]), parts.hostname, port, unquote(parts.username), options)


def _sqlite_address(parts: SplitResult) -> CatalogAddress:
    form = (
        "use sqlite:////folder/catalog.db with four slashes, or three before a path relative to the working directory"
    )
    if len(parts.path) < 2:
        raise InputError(f"OHLCV_CATALOG_URI contains no file path: {form}")
    if parts.netloc or parts.query or parts.fragment:
        # Not repeated: it may be a user and a password.
        raise InputError(f"OHLCV_CATALOG_URI has a host, a query or a fragment, and SQLite uses none: {form}")
    path = _absolute("OHLCV_CATALOG_URI", unquote(parts.path[1:]))
    return CatalogAddress("sqlite", local_path("OHLCV_CATALOG_URI", path))


def _rest_address(text: str) -> CatalogAddress:
    if not is_web_address(text):
        raise InputError(
            f"OHLCV_CATALOG_URI is '{redacted(text)}': give an address such as http://host:19120/iceberg, "
            "without user, password or query (a token is OHLCV_CATALOG_TOKEN or …_FILE)"
        )
    return CatalogAddress("rest", text.rstrip("/"))


def catalog_secret(values: Mapping[str, str], name: str, catalog: CatalogAddress) -> str | None:
    """Return the password or token of the catalog. Raise InputError if this kind of catalog does not use it."""
    found = secret(values, name)
    kind = {"OHLCV_CATALOG_PASSWORD": "postgresql", "OHLCV_CATALOG_TOKEN": "rest"}[name]
    if found is not None and catalog.engine != kind:
        expected = {"postgresql": "a PostgreSQL catalog", "rest": "a REST catalog"}[kind]
        raise InputError(f"{name} is for {expected}, but OHLCV_CATALOG_URI is {catalog}: remove it")
    # The HTTP client would repeat a token that it cannot send.
    if kind == "rest" and found is not None and not re.fullmatch(r"[!-~]+", found):
        raise InputError(f"{name} contains a space, a line break or a character that is not ASCII: correct it")
    return found


def warehouse_location(text: str | None, home: Path, catalog: CatalogAddress) -> str:
    """Return the location of the warehouse as a URI."""
    is_rest = catalog.engine == "rest"
    if not text:
        return "" if is_rest else f"file://{home / 'warehouse'}"
    scheme, mark, rest = text.partition("://")
    if mark and scheme == "s3":
        bucket, _, key = rest.rstrip("/").partition("/")
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket) or re.search(r"[?#%]|//", key):
            raise InputError(f"OHLCV_WAREHOUSE is '{redacted(text)}': give s3://bucket/prefix, without ?, # or %")
        return f"s3://{rest.rstrip('/')}"
    if is_rest:
        # The service decides where its tables are stored. The value selects one of its warehouses by name.
        if mark and redacted(text) != text:
            raise InputError(f"OHLCV_WAREHOUSE is '{redacted(text)}': give an address without user, password or query")
        return text
    if mark and scheme == "file":
        if not rest.startswith("/"):
            raise InputError(f"OHLCV_WAREHOUSE is '{redacted(text)}': give file:///folder, with three slashes")
    elif has_scheme(text):
        raise InputError(
            f"OHLCV_WAREHOUSE is '{redacted(text)}': give a folder, its file:// address or s3://bucket/prefix"
        )
    folder = _absolute("OHLCV_WAREHOUSE", rest if mark else text)
    if folder == "/":
        raise InputError("OHLCV_WAREHOUSE is the root folder: give a folder below it")
    # Not as_uri(): Spark and pyiceberg do not decode %20 in a location to a space.
    return f"file://{local_path('OHLCV_WAREHOUSE', folder)}"


def s3_store(values: Mapping[str, str], catalog: CatalogAddress, warehouse: str) -> S3Store | None:
    """Return the S3 store of the warehouse, or None if the files are local."""
    given = [name for name in S3_NAMES if values.get(name)]
    if not warehouse.startswith("s3://"):
        if not given:
            return None
        # The warehouse of a REST catalog is only a name. Its files may still be in this store.
        if catalog.engine != "rest":
            raise InputError(
                f"{given[0]} is set, but OHLCV_WAREHOUSE is {redacted(warehouse)}: give s3://bucket/prefix"
            )
    access_key, secret_key = values.get("OHLCV_S3_ACCESS_KEY") or None, secret(values, "OHLCV_S3_SECRET_KEY")
    if (access_key is None) != (secret_key is None):
        missing = "OHLCV_S3_ACCESS_KEY" if access_key is None else "OHLCV_S3_SECRET_KEY (or …_FILE)"
        raise InputError(
            f"{missing} is missing: set both keys of the S3 store, or neither to use the default AWS credentials"
        )
    return S3Store(
        web_address(values, "OHLCV_S3_ENDPOINT"), values.get("OHLCV_S3_REGION") or "us-east-1", access_key, secret_key
    )
