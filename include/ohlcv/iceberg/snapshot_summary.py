"""Reading what jobs recorded in the snapshot summaries and properties of a candle table."""

from __future__ import annotations

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from ohlcv.model import summary_keys
from ohlcv.model.build_planner import SourceCheckpoint
from ohlcv.model.intervals import Range, iso


def job_summary(snapshot: Snapshot) -> dict[str, str]:
    """Return the entries that a job wrote into the summary. Empty for a commit of another writer."""
    properties = snapshot.summary.additional_properties if snapshot.summary else {}
    return {name: value for name, value in properties.items() if name.startswith(summary_keys.PREFIX)}


def run_commit(table: Table, run_id: str, own_range: Range) -> dict[str, str]:
    """Return the summary of the newest commit of a run for a range. A reprocessing run has one commit per day."""
    for snapshot in reversed(table.snapshots()):
        summary = job_summary(snapshot)
        if (summary.get(summary_keys.RUN_ID), summary.get(summary_keys.RANGE_START)) == (run_id, iso(own_range.start)):
            return summary
    return {}


def newest_commit(table: Table) -> dict[str, str]:
    """Return the summary of the newest commit of a job, empty if there is none."""
    return next(filter(None, map(job_summary, reversed(table.snapshots()))), {})


def read_checkpoint(table: Table) -> SourceCheckpoint:
    """Return the source checkpoint of a candle table: the property if it is valid, else that of the newest commit."""
    base, checkpoint = 0, SourceCheckpoint()
    for snapshot in reversed(table.snapshots()):
        if text := job_summary(snapshot).get(summary_keys.CHECKPOINT):
            base, checkpoint = snapshot.snapshot_id, SourceCheckpoint.from_text(text)
            break
    if table.properties.get(summary_keys.CHECKPOINT_BASE_PROPERTY) == str(base):
        return SourceCheckpoint.from_text(table.properties[summary_keys.CHECKPOINT_PROPERTY])
    return checkpoint
