"""Errors of a catalog as one line that says what to do, without secrets."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from pyiceberg.exceptions import (
    AuthorizationExpiredError,
    ForbiddenError,
    OAuthError,
    RESTError,
    UnauthorizedError,
)
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError
from thrift.Thrift import TException

from ohlcv.config.catalogs.adapters import SQLITE_WAIT_SECONDS, Catalog
from ohlcv.config.settings import Settings
from ohlcv.iceberg.damage import is_catalog_damage
from ohlcv.iceberg.rest_catalog import RestProtocolError
from ohlcv.model.errors import DamagedFileError, OhlcvError

# Errors of a catalog that does not answer or denies access: of its database, of a REST service, of Glue and Hive.
CATALOG_ERRORS = (
    *(SQLAlchemyError, sqlite3.Error, RESTError, RequestException),
    *(BotoCoreError, ClientError, TException),
)
_DENIED = (UnauthorizedError, ForbiddenError, AuthorizationExpiredError, OAuthError)
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError)
# How the codes of AWS errors begin that deny access.
_AWS_DENIED = ("AccessDenied", "UnrecognizedClient", "ExpiredToken", "InvalidSignature", "InvalidClientTokenId")


@contextlib.contextmanager
def described_catalog_errors(settings: Settings) -> Iterator[None]:
    """Convert errors of the catalog to an OhlcvError of one line."""
    try:
        yield
    except CATALOG_ERRORS as error:
        raise OhlcvError(describe_catalog_error(settings, error)) from error


def describe_catalog_error(settings: Settings, error: Exception) -> str:
    """Return one line that says which catalog failed and why, without its secrets."""
    catalog = settings.catalog
    text = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    cause = catalog.without_secrets(text.splitlines()[0])[:300]
    database = catalog.embedded_database
    if database is not None and _is_disk_full(error, folder := Path(database).parent):
        return f"no space left in {folder} for the catalog: free space"
    if database is not None and is_catalog_damage(error):
        return str(DamagedFileError(database, f"is damaged ({cause})"))
    problem, remedy = _explain(catalog, error, cause)
    return f"the catalog {catalog} {problem}: {remedy}"


def _explain(catalog: Catalog, error: Exception, cause: str) -> tuple[str, str]:
    """Return what is wrong and what to do."""
    uri, warehouse = catalog.setting("uri"), catalog.setting("warehouse")
    problem, remedy = f"does not answer ({cause})", f"check {uri}"
    if _denies_access(error) or "password" in cause:
        problem, remedy = f"denies access ({cause})", f"check {catalog.access_settings}"
    elif isinstance(error, RestProtocolError):
        problem, remedy = "is not an Iceberg REST catalog", f"check {uri}"
    elif isinstance(error, RESTError):
        problem, remedy = f"answers with an error ({cause})", f"check {uri} and {warehouse}"
    elif isinstance(error, ClientError):
        problem = f"answers with an error ({cause})"
        remedy = f"check the properties of the catalog {catalog.name}"
    elif "database is locked" in cause:
        problem = f"is locked by another process, waited {SQLITE_WAIT_SECONDS} s"
        remedy = "wait until that process ends, or end it, and start again"
    elif "readonly database" in cause:
        problem, remedy = "is not writable", "grant access to the file and its folder"
    return problem, remedy


def _denies_access(error: Exception) -> bool:
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "")).startswith(_AWS_DENIED)
    return isinstance(error, (*_DENIED, *_NO_CREDENTIALS))


def _is_disk_full(error: Exception, folder: Path) -> bool:
    code = getattr(getattr(error, "orig", error), "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    # With write-ahead logging, a full disk is an I/O error, or prevents the creation of SQLite's own files.
    no_space = code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and shutil.disk_usage(folder).free < 2**20
    return code == sqlite3.SQLITE_FULL or no_space
