"""Failures of a job as one line that says what to do: damaged files, denied access, full disks, store and catalog."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from ohlcv.config.catalogs.adapters import SQLITE_WAIT_SECONDS
from ohlcv.config.settings import Settings
from ohlcv.model.catalog_causes import Cause, find_cause
from spark_jobs.runtime.spark_errors import (
    S3_EXCEPTIONS,
    find_damage,
    find_denial,
    find_store_denial,
    first_line,
    java_causes,
)

# Texts of Java, Parquet's native libraries and SQLite for a full disk.
_FULL_DISK = ("No space left on device", "Disk quota exceeded", "[SQLITE_FULL")
_FULL_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT)
# A disk with less free space counts as full: a block or two may be left that no file could use.
_FULL_BELOW_BYTES = 2**20
# Packages of the errors of S3's client.
_STORE = "software.amazon.awssdk."
# Exceptions of JDBC, and Iceberg's around them.
_DATABASE = ("java.sql.", "org.postgresql.", "org.sqlite.", "UncheckedSQLException")
# Java's error, and Spark's when executors of a task ended several times.
_LACK_OF_MEMORY = ("OutOfMemoryError", "ExecutorLostFailure")


def describe_failure(error: Exception, settings: Settings) -> str:
    """Return one line without secrets that says why a job failed and what to do."""
    catalog = settings.catalog
    text = (
        find_damage(error, catalog.embedded_database)
        or find_denial(error, catalog)
        or find_store_denial(error, catalog)
        or _find_full_disk(error, settings)
        or _find_store_failure(error, settings)
        or _find_catalog_failure(error, settings)
        or _find_lack_of_memory(error)
        or _describe_any(error)
    )
    return catalog.without_secrets(str(text))


def _texts(error: Exception) -> list[str]:
    """Return the text of each cause in Java, or of the error and its causes in Python."""
    if isinstance(error, PySparkException | Py4JJavaError):
        return [str(cause.toString()) for cause in java_causes(error)] or [str(error)]
    return [f"{type(each).__name__}: {each}" for each in _python_causes(error)]


def _python_causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _find_full_disk(error: Exception, settings: Settings) -> str | None:
    is_full = any(text in cause for cause in _texts(error) for text in _FULL_DISK) or any(
        isinstance(cause, OSError) and cause.errno in _FULL_DISK_ERRORS for cause in _python_causes(error)
    )
    full = _full_folders(settings)
    # With write-ahead logging, SQLite reports a full disk as an I/O error, or cannot create its own files.
    is_io_error = any("[SQLITE_IOERR" in cause or "[SQLITE_CANTOPEN" in cause for cause in _texts(error))
    if not (is_full or (is_io_error and full)):
        return None
    place = f"in {', '.join(full)}" if full else "on the driver's or an executor's machine"
    return f"no space left {place} ({first_line(error)}): free space and run again"


def _full_folders(settings: Settings) -> list[str]:
    """Return the folders of this machine without space, of those that a job writes to."""
    catalog = settings.catalog.embedded_database
    folders = [
        unquote(urlsplit(settings.warehouse).path) if settings.store is None else None,
        str(Path(catalog).parent) if catalog is not None else None,
        *_local_folders(),
        tempfile.gettempdir(),
    ]
    return [each for each in dict.fromkeys(folders) if each and _is_full(each)]


def _local_folders() -> list[str]:
    """Return the folders for Spark's temporary files."""
    session = SparkSession.getActiveSession()
    configured = session.conf.get("spark.local.dir", "") if session is not None else ""
    return (os.environ.get("SPARK_LOCAL_DIRS") or configured or "").split(",")


def _is_full(folder: str) -> bool:
    try:
        return shutil.disk_usage(folder).free < _FULL_BELOW_BYTES
    except OSError:
        return False


def _find_store_failure(error: Exception, settings: Settings) -> str | None:
    if not any(_STORE in cause for cause in _texts(error)):
        return None
    catalog = settings.catalog
    store = settings.store or f"of the catalog {catalog}"
    if any(S3_EXCEPTIONS in text for text in _texts(error)):
        return f"the store {store} reports an error ({first_line(error)}): check the store and run again"
    endpoint = catalog.setting("s3.endpoint")
    return f"the store {store} does not answer ({first_line(error)}): start it, or correct {endpoint}"


def _find_catalog_failure(error: Exception, settings: Settings) -> str | None:
    texts = _texts(error)
    catalog = settings.catalog
    cause = find_cause([_without_package(text) for text in texts])
    if cause is Cause.LOCKED:
        return (
            f"the catalog {catalog} is locked by another process, waited {SQLITE_WAIT_SECONDS} s: "
            "wait until that process ends, or end it, and run again"
        )
    if cause is Cause.UNREACHABLE or any(name in text for text in texts for name in _DATABASE):
        return f"the catalog {catalog} does not answer ({first_line(error)}): check {catalog.setting('uri')}"
    return None


def _without_package(text: str) -> str:
    """Return "Class: message" with the simple name of the class."""
    name, separator, message = text.partition(": ")
    return f"{name.rpartition('.')[2]}{separator}{message}"


def _find_lack_of_memory(error: Exception) -> str | None:
    if not any(name in text for text in _texts(error) for name in _LACK_OF_MEMORY):
        return None
    return (
        f"the job ran out of memory or lost its executors ({first_line(error)}): "
        "raise OHLCV_EXECUTOR_MEMORY or OHLCV_DRIVER_MEMORY"
    )


def _describe_any(error: Exception) -> str:
    if isinstance(error, PySparkException | Py4JJavaError):
        return f"Spark failed: {first_line(error)}"
    return f"the job failed ({type(error).__name__}: {first_line(error)}): see the traceback above"
