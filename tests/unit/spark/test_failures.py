"""Failures of a job as one line that says what to do."""

from __future__ import annotations

import errno
import os

import pytest
from pyspark.errors import PySparkException

from ohlcv.config.settings import load_settings
from spark_jobs.runtime.failures import describe_failure

S3_CLIENT = "software.amazon.awssdk"
CASES = {
    "org.sqlite.SQLiteException: [SQLITE_BUSY] The database file is locked (database is locked)": (
        "is locked by another process, waited 60 s: wait until that process ends"
    ),
    "org.postgresql.util.PSQLException: Connection to 127.0.0.1:5432 refused.": "does not answer (",
    "org.apache.iceberg.jdbc.UncheckedSQLException: Failed to get table": "does not answer (",
    "java.io.IOException: No space left on device": "no space left ",
    f"{S3_CLIENT}.services.s3.model.S3Exception: Please reduce your request rate.": "http://s3 reports an error (",
    f"{S3_CLIENT}.core.exception.SdkClientException: Unable to execute HTTP request": "http://s3 does not answer (",
    "java.lang.OutOfMemoryError: Java heap space": "ran out of memory",
    "java.lang.IllegalStateException: something else": "Spark failed: ",
}


@pytest.fixture
def _store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHLCV_WAREHOUSE", "s3://candles/warehouse")
    monkeypatch.setenv("OHLCV_S3_ENDPOINT", "http://s3")


@pytest.mark.usefixtures("_store")
@pytest.mark.parametrize("text", CASES)
def test_an_error_of_spark_says_what_failed(text: str) -> None:
    line = describe_failure(PySparkException(f"{text}\n\tat org.apache.iceberg"), load_settings())
    assert CASES[text] in line
    assert len(line.splitlines()) == 1


def test_a_full_disk_is_found_among_the_causes_of_an_error_of_python() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    error = RuntimeError("the lock cannot be written")
    error.__cause__ = full
    line = describe_failure(error, load_settings({}))
    assert line.startswith("no space left ")
    assert line.endswith("(the lock cannot be written): free space and run again")


@pytest.mark.parametrize(("error", "text"), [(ValueError("a\nb"), "ValueError: a"), (KeyError(), "KeyError: KeyError")])
def test_an_unexpected_error_points_to_its_traceback(error: Exception, text: str) -> None:
    assert describe_failure(error, load_settings({})) == f"the job failed ({text}): see the traceback above"
