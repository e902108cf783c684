"""Order of the times of a table's commits, which Iceberg's Java library requires, and remedies if a clock was wrong."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import pairwise

from ohlcv.model.intervals import from_microseconds, iso

# Iceberg accepts a commit that is up to a minute before the previous one.
TOLERANCE_MILLISECONDS = 60_000


def now_milliseconds() -> int:
    """Return the time of the machine's clock in milliseconds."""
    return int(time.time() * 1000)


def order_problem(table: str, logs: Iterable[Sequence[int]]) -> str | None:
    """Return one line if the times in milliseconds of one of the logs of commits are not in order."""
    for log in logs:
        for before, after in pairwise(log):
            if after < before - TOLERANCE_MILLISECONDS:
                return unordered_problem(table)
    return None


def unordered_problem(table: str) -> str:
    """Return one line about a table whose commits are not in order, which Iceberg's Java library does not load."""
    return (
        f"{table} has commits whose times are not in order, so Spark cannot read it: a writer's clock was wrong, "
        f"correct it and run 'ohlcv tables restore {table}'"
    )


def future_problem(table: str, updated: int, now: int) -> str | None:
    """Return one line if the newest commit is in the future, so that another one would be out of order."""
    if updated <= now + TOLERANCE_MILLISECONDS:
        return None
    return (
        f"{table} was changed at {_time(updated)}, but the clock of this machine says {_time(now)}: correct the wrong "
        f"clock; if it was the writer's, wait until that time or undo its commit by 'ohlcv tables restore {table}'"
    )


def _time(milliseconds: int) -> str:
    return iso(from_microseconds(milliseconds // 1000 * 1_000_000))
