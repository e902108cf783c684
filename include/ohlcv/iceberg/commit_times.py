"""Times of a table's commits, read by pyiceberg, which does not check their order as Iceberg's Java library does.

One commit with a wrong clock and a later one with a right clock would make a table unreadable for every job.
"""

from __future__ import annotations

from pyiceberg.table import Table

from ohlcv.model.commit_times import future_problem, now_milliseconds, order_problem


def find_time_problem(table: Table, name: str) -> str | None:
    """Return one line if a commit now would be out of order, or if earlier ones are."""
    metadata = table.metadata
    files = [*(each.timestamp_ms for each in metadata.metadata_log), metadata.last_updated_ms]
    logs = ([each.timestamp_ms for each in metadata.snapshot_log], files)
    return order_problem(name, logs) or future_problem(name, metadata.last_updated_ms, now_milliseconds())
