"""What Spark and Iceberg raise, in one line and by kind."""

from __future__ import annotations

from collections.abc import Iterator

from py4j.protocol import Py4JJavaError
from pyspark.errors.exceptions.captured import CapturedException

from spark_jobs.runtime.py4j_bridge import JavaObject

# What Iceberg raises where another's commit is in the way of this one; nothing of it is written then.
CONFLICTS = ("CommitFailedException", "ValidationException")
# What Iceberg says of a snapshot that a table does not have any more.
_GONE = "Cannot find snapshot"


def java_causes(error: BaseException) -> Iterator[JavaObject]:
    """Walk what Java raised down to its cause; pyspark passes on some errors as they are, others in its own."""
    if isinstance(error, Py4JJavaError):
        cause = error.java_exception
    else:
        cause = getattr(error, "_origin", None) if isinstance(error, CapturedException) else None
    while cause is not None:
        yield cause
        cause = cause.getCause()


def is_conflict(error: BaseException) -> bool:
    """Tell whether Iceberg refused a commit because of another's."""
    return any(cause.getClass().getSimpleName() in CONFLICTS for cause in java_causes(error))


def is_lost_race(error: BaseException) -> bool:
    """Tell whether another's commit came in between: refused, or nothing left of the snapshot that was being read.

    Nessie shows only a table's newest snapshot.
    """
    return is_conflict(error) or any(_GONE in str(cause.toString()) for cause in java_causes(error))


def first_line(error: BaseException) -> str:
    """Give the cause of a Spark error in one line, without its Java stack."""
    causes = list(java_causes(error))
    # What has no cause behind it speaks for itself; pyspark leaves Java's name of it out.
    speaks = isinstance(error, CapturedException) and len(causes) < 2
    told = str(causes[-1].toString()) if causes and not speaks else str(error)
    return told.strip().splitlines()[0]
