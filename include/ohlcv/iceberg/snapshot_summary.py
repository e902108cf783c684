"""Reading what jobs recorded in the snapshot summaries and properties of a candle table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from ohlcv.model import summary_keys
from ohlcv.model.intervals import Range, iso, merge_ranges, parse_time
from ohlcv.model.source_checkpoint import SourceCheckpoint
from ohlcv.model.source_hours import parse_hours, windows_of_hour
from ohlcv.model.timeframes import Timeframe


def job_summary(snapshot: Snapshot) -> dict[str, str]:
    """Return the entries that a job wrote into the summary. Empty for a commit of another writer."""
    properties = snapshot.summary.additional_properties if snapshot.summary else {}
    return {name: value for name, value in properties.items() if name.startswith(summary_keys.PREFIX)}


def has_equality_deletes(snapshot: Snapshot | None) -> bool:
    """Return whether a snapshot has equality deletes, which pyiceberg does not apply."""
    summary = snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
    return int(summary.get("total-equality-deletes", 0)) > 0


def main_snapshots(table: Table) -> Iterator[Snapshot]:
    """Yield the published snapshots, from the current one back to the oldest that has not expired.

    A table also has snapshots that are not published: staged candidates, and those that a rollback left.
    """
    if current := table.current_snapshot():
        yield current
        yield from ancestors(current, {snapshot.snapshot_id: snapshot for snapshot in table.snapshots()})


def ancestors(snapshot: Snapshot, by_id: Mapping[int, Snapshot]) -> Iterator[Snapshot]:
    """Yield the ancestors of a snapshot that have not expired, the newest first."""
    found = by_id.get(snapshot.parent_snapshot_id) if snapshot.parent_snapshot_id is not None else None
    while found is not None:
        yield found
        found = by_id.get(found.parent_snapshot_id) if found.parent_snapshot_id is not None else None


def run_commit(table: Table, run_id: str, own_range: Range) -> dict[str, str]:
    """Return the summary of the newest commit of a run for a range. A reprocessing run has one commit per day."""
    for snapshot in main_snapshots(table):
        summary = job_summary(snapshot)
        if (summary.get(summary_keys.RUN_ID), summary.get(summary_keys.RANGE_START)) == (run_id, iso(own_range.start)):
            return summary
    return {}


def built_ranges(summary: Mapping[str, str], timeframe: Timeframe) -> list[Range]:
    """Return what the run of a commit built: its range and the windows of pending hours. Others built nothing."""
    if summary_keys.RANGE_START not in summary:
        return []
    start, end = (parse_time(summary[key])[0] for key in (summary_keys.RANGE_START, summary_keys.RANGE_END))
    hours = parse_hours(summary.get(summary_keys.REBUILT_PENDING_HOURS, ""))
    rebuilt = (windows_of_hour(timeframe, hour) for hour in hours)
    return merge_ranges([Range(start, end), *(Range(span.start, min(span.end, end)) for span in rebuilt)])


def newest_commit(table: Table) -> dict[str, str]:
    """Return the summary of the newest commit of a job, empty if there is none."""
    return next(filter(None, map(job_summary, main_snapshots(table))), {})


def read_checkpoint(table: Table) -> SourceCheckpoint:
    """Return the source checkpoint of a candle table: the property if it is valid, else that of the newest commit."""
    base, checkpoint = 0, SourceCheckpoint()
    for snapshot in main_snapshots(table):
        if text := job_summary(snapshot).get(summary_keys.CHECKPOINT):
            base, checkpoint = snapshot.snapshot_id, SourceCheckpoint.from_text(text)
            break
    if table.properties.get(summary_keys.CHECKPOINT_BASE_PROPERTY) == str(base):
        return SourceCheckpoint.from_text(table.properties[summary_keys.CHECKPOINT_PROPERTY])
    return checkpoint
