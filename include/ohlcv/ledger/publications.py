"""What each entry of the snapshot log is: its trigger and run, and the held series that it released."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot

from ohlcv.iceberg.changed_files import changed_files
from ohlcv.iceberg.snapshot_log import Entry
from ohlcv.iceberg.snapshot_summary import ancestors, job_summary
from ohlcv.ledger.row_differences import Released
from ohlcv.model import summary_keys
from ohlcv.model.audit_records import HeldSeries
from ohlcv.model.intervals import parse_time
from ohlcv.model.ledger_records import Publication, Trigger
from ohlcv.model.source_checkpoint import SourceCheckpoint
from ohlcv.model.timeframes import Timeframe

REPROCESS_DAG = "ohlcv_reprocess"
# Triggers of publications by a run of a job.
JOB_TRIGGERS: tuple[Trigger, ...] = ("scheduled", "backfill", "reprocess", "manual")
# Triggers of publications that change no candle, or only delete expired ones.
NOT_COMPARED: tuple[Trigger, ...] = ("maintenance", "retention")
_RUNS: Mapping[str, Trigger] = {"scheduled": "scheduled", "backfill": "backfill"}


@dataclass(frozen=True)
class History:
    """The snapshots of a candle table that have not expired, and its properties."""

    snapshots: Mapping[int, Snapshot]
    properties: Mapping[str, str]

    @classmethod
    def of(cls, table: Table) -> History:
        """Return the history of a loaded table."""
        return cls({snapshot.snapshot_id: snapshot for snapshot in table.snapshots()}, table.properties)

    def trigger(self, entry: Entry, published: set[int]) -> Trigger:
        """Return why main moved, given the snapshots of all earlier publications."""
        if entry.after_gap:
            return "gap"
        before, after = entry.before, entry.snapshot
        assert after is not None, "an entry of the log has a snapshot"
        if after.snapshot_id in published or (before and self._is_ancestor(after, before)):
            return "rollback"
        summary = job_summary(after)
        if before is not None and after.parent_snapshot_id == before.snapshot_id and after.summary is not None:
            if after.summary.operation == Operation.REPLACE:
                return "maintenance"
            if after.summary.operation == Operation.DELETE and summary_keys.MAINTENANCE in summary:
                return "retention"
        return _trigger_of_run(summary) if summary_keys.TIMEFRAME in summary else "other writer"

    def _is_ancestor(self, snapshot: Snapshot, of: Snapshot) -> bool:
        # Its sequence number is smaller, so that few ancestors are searched.
        if (snapshot.sequence_number or 0) >= (of.sequence_number or 0):
            return False
        return any(each.snapshot_id == snapshot.snapshot_id for each in ancestors(of, self.snapshots))

    def released(self, entry: Entry, waived: set[tuple[str, str, int]]) -> list[Released]:
        """Return the series that were held before an entry and no longer are, given the keys of all waivers."""
        base, before = self._checkpoint(entry.before)
        if self.properties.get(summary_keys.CHECKPOINT_BASE_PROPERTY) == str(base):
            # A later run, which changed no candle, may have held series.
            before = self.properties[summary_keys.CHECKPOINT_PROPERTY]
        after = _held(self._checkpoint(entry.snapshot)[1])
        return [
            Released(held, parse_time(held.since)[0], key in waived)
            for key, held in _held(before).items()
            if key not in after
        ]

    def _checkpoint(self, snapshot: Snapshot | None) -> tuple[int, str]:
        """Return the newest snapshot up to one that has a source checkpoint, and the checkpoint as text."""
        if snapshot is not None:
            for each in (snapshot, *ancestors(snapshot, self.snapshots)):
                if text := job_summary(each).get(summary_keys.CHECKPOINT):
                    return each.snapshot_id, text
        return 0, ""


def _held(checkpoint: str) -> dict[tuple[str, str, int], HeldSeries]:
    # Most checkpoints hold no series.
    held = SourceCheckpoint.from_text(checkpoint).held if '"held"' in checkpoint else ()
    return {series.key: series for series in held}


def _trigger_of_run(summary: Mapping[str, str]) -> Trigger:
    if summary.get(summary_keys.DAG_ID) == REPROCESS_DAG:
        return "reprocess"
    return _RUNS.get(summary.get(summary_keys.RUN_ID, "").partition("__")[0], "manual")


def publication_of(entry: Entry, trigger: Trigger, timeframe: Timeframe, number: int) -> Publication:
    """Return the publication of an entry, without what it changed."""
    summary = job_summary(entry.snapshot) if entry.snapshot is not None else {}
    is_run = trigger in (*JOB_TRIGGERS, *NOT_COMPARED)
    trades = summary.get(summary_keys.TRADES_SNAPSHOT)
    return Publication(
        timeframe.name,
        number,
        trigger,
        None if entry.snapshot is None else entry.snapshot.snapshot_id,
        entry.visible_at,
        dag_id=summary.get(summary_keys.DAG_ID) or None if is_run else None,
        run_id=summary.get(summary_keys.RUN_ID) or None if is_run else None,
        trades_snapshot=int(trades) if trades else None,
    )


def deleted_partitions(table: Table, timeframe: Timeframe, entry: Entry) -> tuple[date, ...]:
    """Return the first days of the partitions whose files an entry removed."""
    assert entry.snapshot is not None, "an entry of the log has a snapshot"
    removed = changed_files(table, entry.before, entry.snapshot).removed
    numbers = {task.file.partition[0] for task in removed} - {None}
    return tuple(timeframe.partition_start(int(number)) for number in sorted(numbers))
