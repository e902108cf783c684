"""Classification and one-line text of errors raised by Spark and Iceberg."""

from __future__ import annotations

from collections.abc import Iterator

from py4j.protocol import Py4JJavaError
from pyspark.errors.exceptions.captured import CapturedException

from spark_jobs.runtime.py4j_bridge import JavaObject

# Raised by Iceberg when another commit conflicts with this one. Nothing of this one is written then.
CONFLICTS = ("CommitFailedException", "ValidationException")
# Iceberg's message when a table no longer has a snapshot.
_MISSING_SNAPSHOT = "Cannot find snapshot"


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


def first_line(error: BaseException) -> str:
    """Return the cause of a Spark error in one line, without the Java stack trace."""
    causes = list(java_causes(error))
    # Without a further cause pyspark's own text is better: it omits the Java class name.
    use_own_text = isinstance(error, CapturedException) and len(causes) < 2
    text = str(causes[-1].toString()) if causes and not use_own_text else str(error)
    return text.strip().splitlines()[0]
