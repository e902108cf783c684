"""Settings of the home, the warehouse and the object store."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ohlcv.config.values import absolute_path, has_scheme, local_path, redacted, secret, web_address
from ohlcv.model.errors import InputError

# Environment variables of an S3 store.
S3_NAMES = (
    "OHLCV_S3_ENDPOINT",
    "OHLCV_S3_REGION",
    "OHLCV_S3_ACCESS_KEY",
    "OHLCV_S3_SECRET_KEY",
    "OHLCV_S3_SECRET_KEY_FILE",
)
AZURE_SCHEMES = ("abfs", "abfss", "wasb", "wasbs")
DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True)
class S3Store:
    """Address and keys of an S3 store. Without keys the SDKs use the default credential chain of AWS."""

    # None for AWS.
    endpoint: str | None
    region: str
    access_key: str | None = dataclasses.field(repr=False)
    secret_key: str | None = dataclasses.field(repr=False)
    session_token: str | None = dataclasses.field(default=None, repr=False)

    def __str__(self) -> str:
        return self.endpoint or f"AWS S3 in {self.region}"

    @property
    def properties(self) -> dict[str, str]:
        """Return the properties of a catalog that describe this store."""
        values = {
            "s3.endpoint": self.endpoint,
            "s3.region": self.region,
            "s3.access-key-id": self.access_key,
            "s3.secret-access-key": self.secret_key,
            "s3.session-token": self.session_token,
        }
        return {name: value for name, value in values.items() if value}


def home_folder(text: str | None) -> Path:
    """Return the absolute path of the folder of the embedded catalog and warehouse."""
    if text and has_scheme(text):
        raise InputError(f"OHLCV_HOME is '{redacted(text)}': give a folder")
    return Path(local_path("OHLCV_HOME", absolute_path("OHLCV_HOME", text or ".ohlcv")))


def warehouse_location(name: str, text: str | None, home: Path | None, *, of_service: bool) -> str:
    """Return the location of the warehouse as a URI, by default that of the folder in `home`.

    With `of_service` the service of the catalog decides where its tables are stored: the text may also be a name that
    it knows, or empty.
    """
    if not text:
        if of_service:
            return ""
        if home is None:
            raise InputError(f"{name} is missing: give a folder, its file:// address or s3://bucket/prefix")
        return f"file://{home / 'warehouse'}"
    scheme, mark, _ = text.partition("://")
    if mark and scheme == "s3":
        return _s3_location(name, text)
    if of_service:
        # abfss://container@account.dfs.core.windows.net has no user.
        if mark and scheme not in AZURE_SCHEMES and redacted(text) != text:
            raise InputError(f"{name} is '{redacted(text)}': give an address without user, password or query")
        return text
    return _folder_location(name, text)


def _s3_location(name: str, text: str) -> str:
    location = text.rstrip("/")
    bucket, _, key = location.removeprefix("s3://").partition("/")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket) or re.search(r"[?#%]|//", key):
        raise InputError(f"{name} is '{redacted(text)}': give s3://bucket/prefix, without ?, # or %")
    return location


def _folder_location(name: str, text: str) -> str:
    scheme, mark, rest = text.partition("://")
    if mark and scheme == "file":
        if not rest.startswith("/"):
            raise InputError(f"{name} is '{redacted(text)}': give file:///folder, with three slashes")
    elif has_scheme(text):
        raise InputError(f"{name} is '{redacted(text)}': give a folder, its file:// address or s3://bucket/prefix")
    folder = absolute_path(name, rest if mark else text)
    if folder == "/":
        raise InputError(f"{name} is the root folder: give a folder below it")
    # Not as_uri(): Spark and pyiceberg do not decode %20 in a location to a space.
    return f"file://{local_path(name, folder)}"


def s3_store(values: Mapping[str, str], warehouse: str, *, of_service: bool) -> S3Store | None:
    """Return the S3 store of the warehouse, or None if the files are local."""
    given = [name for name in S3_NAMES if values.get(name)]
    if not warehouse.startswith("s3://"):
        if not given:
            return None
        # The warehouse of a service is only a name. Its files may still be in this store.
        if not of_service:
            raise InputError(
                f"{given[0]} is set, but OHLCV_WAREHOUSE is {redacted(warehouse)}: give s3://bucket/prefix"
            )
    access_key, secret_key = values.get("OHLCV_S3_ACCESS_KEY") or None, secret(values, "OHLCV_S3_SECRET_KEY")
    if (access_key is None) != (secret_key is None):
        missing = "OHLCV_S3_ACCESS_KEY" if access_key is None else "OHLCV_S3_SECRET_KEY (or …_FILE)"
        raise InputError(
            f"{missing} is missing: set both keys of the S3 store, or neither to use the default AWS credentials"
        )
    region = values.get("OHLCV_S3_REGION") or DEFAULT_REGION
    return S3Store(web_address(values, "OHLCV_S3_ENDPOINT"), region, access_key, secret_key)
