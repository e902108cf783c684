"""Classification and one-line text of errors raised by Spark and Iceberg."""

from __future__ import annotations

import re
from collections.abc import Iterator

from py4j.protocol import Py4JJavaError
from pyspark.errors.exceptions.captured import CapturedException

from ohlcv.config.catalogs.adapters import Catalog
from ohlcv.model.errors import DamagedFileError, OhlcvError
from spark_jobs.runtime.py4j_bridge import JavaObject, java_class

# Raised by Iceberg when another commit conflicts with this one. Nothing of this one is written then.
CONFLICTS = ("CommitFailedException", "ValidationException")
# Raised by Iceberg when a REST catalog answers 401 or 403.
DENIALS = ("NotAuthorizedException", "ForbiddenException")
# Iceberg's message when a table no longer has a snapshot.
_MISSING_SNAPSHOT = "Cannot find snapshot"
# How Iceberg and Hadoop name a file that is missing or unreadable.
_UNREADABLE_FILE = re.compile(
    r"(?:Failed to (?:open|read|fetch) [\w ]*file|Checksum error): (\S+\.(?:avro|parquet|metadata\.json))"
)
# Errors of Parquet, which do not name the file.
_UNREADABLE_PARQUET = ("is not a Parquet file", "ParquetDecodingException")
# Message of Spark about the task that ended a query, as in (TID 3) (host executor 0): the reason. Errors of Comet.
_NATIVE_FAILURE = re.compile(
    r"Job aborted due to stage failure: (?:.*\(TID \d+\)(?: \([^)]*\))?: )?(.*)|^(org\.apache\.comet\..*)"
)
# Packages of causes that say nothing about the file: the network and the object store.
_STORE_ERRORS = ("java.net.", "javax.net.", "software.amazon.awssdk.")
# Package of the errors that S3 itself reports.
S3_EXCEPTIONS = "software.amazon.awssdk.services.s3.model."
# Status of a response of S3.
_FORBIDDEN = 403
# SQLite's codes for a damaged catalog.
_DAMAGED_CATALOG = ("[SQLITE_CORRUPT", "[SQLITE_NOTADB]")


class LostRaceError(OhlcvError):
    """Another writer committed first: what this job read is out of date."""


def java_causes(error: BaseException) -> Iterator[JavaObject]:
    """Yield a Java exception and its causes; pyspark wraps some exceptions in its own classes."""
    if isinstance(error, Py4JJavaError):
        cause = error.java_exception
    else:
        cause = getattr(error, "_origin", None) if isinstance(error, CapturedException) else None
    while cause is not None:
        yield cause
        cause = cause.getCause()


def is_conflict(error: BaseException) -> bool:
    """Return whether Iceberg rejected a commit because of another commit."""
    return any(cause.getClass().getSimpleName() in CONFLICTS for cause in java_causes(error))


def is_lost_race(error: BaseException) -> bool:
    """Return whether another writer committed first: the commit was rejected, or the snapshot read is gone.

    The second case occurs with Nessie, which shows only the newest snapshot of a table.
    """
    return is_conflict(error) or any(_MISSING_SNAPSHOT in str(cause.toString()) for cause in java_causes(error))


def find_native_failure(error: BaseException) -> str | None:
    """Return why a query failed, if native operators can be the cause.

    They are if Comet raised the error, and can be if a task failed: an error of the task, or the loss of its executor.
    """
    causes = list(java_causes(error))
    if found := next(filter(None, (_NATIVE_FAILURE.search(str(cause.toString())) for cause in causes)), None):
        return found[1] or found[2]
    # Spark raises some errors of tasks without the text above.
    return first_line(error) if causes and _is_raised_in_a_task(causes[0]) else None


def _is_raised_in_a_task(cause: JavaObject) -> bool:
    trace = java_class("org.apache.commons.lang3.exception.ExceptionUtils").getStackTrace(cause)
    return "org.apache.spark.executor.Executor$TaskRunner" in str(trace)


def find_damage(error: BaseException, catalog: str | None) -> DamagedFileError | None:
    """Return the error that names the damaged file, of a table or the SQLite catalog, if that is the cause."""
    causes = [str(cause.toString()) for cause in java_causes(error)]
    if catalog is not None and any(code in cause for cause in causes for code in _DAMAGED_CATALOG):
        return DamagedFileError(catalog, f"is damaged ({first_line(error)})")
    if any(package in cause for cause in causes for package in _STORE_ERRORS):
        return None
    problem = f"cannot be read ({first_line(error)})"
    if found := next(filter(None, map(_UNREADABLE_FILE.search, causes)), None):
        return DamagedFileError(found[1], problem)
    if any(text in cause for cause in causes for text in _UNREADABLE_PARQUET):
        return DamagedFileError("a data file ('ohlcv validate' for the range names it)", problem)
    return None


def find_denial(error: BaseException, catalog: Catalog) -> str | None:
    """Return one line with the remedy if the catalog denies access, otherwise None."""
    denial = _denial(error)
    if denial is None:
        return None
    # Iceberg's text ends with a colon if the catalog gives no reason.
    reason = str(denial.getMessage()).strip().splitlines()[0].rstrip(": ")
    return f"the catalog {catalog} denies access ({reason}): check {catalog.access_settings}"


def is_denial(error: BaseException) -> bool:
    """Return whether the catalog denied access. A denied request changes nothing."""
    return _denial(error) is not None


def _denial(error: BaseException) -> JavaObject | None:
    return next((cause for cause in java_causes(error) if cause.getClass().getSimpleName() in DENIALS), None)


def find_store_denial(error: BaseException, catalog: Catalog) -> str | None:
    """Return one line with the remedy if the S3 store refuses the keys, otherwise None."""
    for cause in java_causes(error):
        # S3Exception and its subclasses, such as AccessDeniedException.
        if cause.getClass().getName().startswith(S3_EXCEPTIONS) and cause.statusCode() == _FORBIDDEN:
            # The answer to a HEAD request has no details.
            details = cause.awsErrorDetails()
            reason = (details is not None and details.errorMessage()) or first_line(error)
            return f"the store denies access ({reason}): check {catalog.store_access}"
    return None


def first_line(error: BaseException) -> str:
    """Return the cause of a Spark error in one line, without the Java stack trace."""
    causes = list(java_causes(error))
    # Without a further cause pyspark's own text is better: it omits the Java class name.
    use_own_text = isinstance(error, CapturedException) and len(causes) < 2
    text = str(causes[-1].toString()) if causes and not use_own_text else str(error)
    return (text.strip() or type(error).__name__).splitlines()[0]
