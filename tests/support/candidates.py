"""Snapshots that are staged and not published, written without Spark."""

from __future__ import annotations

from pyiceberg.table import Table
from pyiceberg.table.update import AssertRefSnapshotId, SetSnapshotRefUpdate


def stage(table: Table, summary: dict[str, str]) -> int:
    """Add a snapshot without rows on top of the current one, leave the table at the current one, and return its id."""
    transaction = table.transaction()
    transaction.append(table.schema().as_arrow().empty_table(), snapshot_properties=summary)
    staged = transaction.table_metadata.current_snapshot_id
    assert staged is not None
    transaction._updates = tuple(each for each in transaction._updates if not isinstance(each, SetSnapshotRefUpdate))
    transaction._requirements = tuple(
        each for each in transaction._requirements if not isinstance(each, AssertRefSnapshotId)
    )
    transaction.commit_transaction()
    return staged
