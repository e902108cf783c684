"""Errors of a catalog as one line that says what to do, without secrets."""

from __future__ import annotations

import contextlib
import functools
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from ohlcv.config.catalogs.adapters import SQLITE_WAIT_SECONDS, Catalog
from ohlcv.config.settings import Settings
from ohlcv.iceberg.damage import is_catalog_damage
from ohlcv.model.catalog_causes import Cause, find_cause
from ohlcv.model.errors import DamagedFileError, OhlcvError


@functools.cache
def catalog_errors() -> tuple[type[Exception], ...]:
    """Return the errors of a catalog that does not answer or denies access: database, REST service, Glue, Hive.

    The libraries are imported only after an error: together they take a third of a second of CPU time.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from pyiceberg.exceptions import RESTError
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError
    from thrift.Thrift import TException

    return SQLAlchemyError, sqlite3.Error, RESTError, RequestException, BotoCoreError, ClientError, TException


@contextlib.contextmanager
def described_catalog_errors(settings: Settings) -> Iterator[None]:
    """Convert errors of the catalog to an OhlcvError of one line."""
    try:
        yield
    except catalog_errors() as error:
        raise OhlcvError(describe_catalog_error(settings, error)) from error


def describe_catalog_error(settings: Settings, error: Exception) -> str:
    """Return one line that says which catalog failed and why, without its secrets."""
    catalog = settings.catalog
    original = getattr(error, "orig", None) or error
    text = (str(original).strip() or type(error).__name__).splitlines()[0]
    details = catalog.without_secrets(text)[:300]
    database = catalog.embedded_database
    if database is not None and _is_disk_full(error, folder := Path(database).parent):
        return f"no space left in {folder} for the catalog: free space"
    if database is not None and is_catalog_damage(error):
        return str(DamagedFileError(database, f"is damaged ({details})"))
    cause = find_cause([f"{type(original).__name__}: {text}"])
    problem, remedy = _explain(catalog, error, cause, details)
    return f"the catalog {catalog} {problem}: {remedy}"


def _explain(catalog: Catalog, error: Exception, cause: Cause, details: str) -> tuple[str, str]:
    """Return what is wrong and what to do."""
    from botocore.exceptions import ClientError
    from pyiceberg.exceptions import RESTError

    uri, warehouse = catalog.setting("uri"), catalog.setting("warehouse")
    if cause is Cause.LOCKED:
        return (
            f"is locked by another process, waited {SQLITE_WAIT_SECONDS} s",
            "wait until that process ends, or end it, and start again",
        )
    if cause is Cause.FORBIDDEN and catalog.embedded_database is not None:
        return "is not writable", "grant access to the file and its folder"
    if cause in (Cause.LOGIN, Cause.NO_CREDENTIAL, Cause.FORBIDDEN):
        return f"denies access ({details})", f"check {catalog.access_settings}"
    if cause is Cause.NOT_ICEBERG:
        return "is not an Iceberg REST catalog", f"check {uri}"
    if isinstance(error, RESTError | ClientError):
        settings = (
            f"{uri} and {warehouse}"
            if isinstance(error, RESTError)
            else f"the properties of the catalog {catalog.name}"
        )
        return f"answers with an error ({details})", f"check {settings}"
    return f"does not answer ({details})", f"check {uri}"


def _is_disk_full(error: Exception, folder: Path) -> bool:
    code = getattr(getattr(error, "orig", error), "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    # With write-ahead logging, a full disk is an I/O error, or prevents the creation of SQLite's own files.
    no_space = code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and shutil.disk_usage(folder).free < 2**20
    return code == sqlite3.SQLITE_FULL or no_space
