"""Entries of a candle table's snapshot log that the ledger has not recorded yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from ohlcv.config.settings import Settings
from ohlcv.iceberg.snapshot_summary import ancestors
from ohlcv.model.intervals import from_microseconds
from ohlcv.model.ledger_records import Ledger, Publication


@dataclass(frozen=True)
class Entry:
    """A move of main to a snapshot."""

    # None while the table has no snapshot.
    snapshot: Snapshot | None
    visible_at: datetime
    # The snapshot before, None if the ledger does not know it.
    before: Snapshot | None = None
    # Whether entries before this one were lost.
    after_gap: bool = False


def find_unavailable_reason(settings: Settings, table: Table) -> str | None:
    """Return why the snapshot log does not tell what readers saw, None if it does."""
    snapshots = table.snapshots()
    if settings.catalog.has_lock or len(snapshots) != 1 or (snapshots[0].sequence_number or 0) <= 1:
        return None
    # Nessie permits no expiry. Elsewhere the earlier snapshots have expired.
    if table.properties.get("gc.enabled", "true").lower() != "false":
        return None
    return f"the catalog shows only the newest snapshot of {'.'.join(table.name())}, so its history cannot be recorded"


def first_entry(table: Table) -> Entry:
    """Return the entry at which a ledger begins: the present state of the table."""
    log = table.metadata.snapshot_log
    visible_at = log[-1].timestamp_ms if log else table.metadata.last_updated_ms
    return Entry(table.current_snapshot(), time_of(visible_at))


def unrecorded_entries(table: Table, ledger: Ledger) -> list[Entry]:
    """Return the entries after the checkpoint of a ledger, in the order of the log: all before the ledger began."""
    checkpoint = ledger.checkpoint
    log = [(entry.snapshot_id, time_of(entry.timestamp_ms)) for entry in table.metadata.snapshot_log]
    by_id = {snapshot.snapshot_id: snapshot for snapshot in table.snapshots()}
    known = {each.snapshot for each in ledger.publications}
    position = None if checkpoint is None else _position(log, checkpoint)
    before = None if checkpoint is None or checkpoint.snapshot is None else by_id.get(checkpoint.snapshot)
    is_known = checkpoint is not None and position is not None and (before is not None or checkpoint.snapshot is None)
    entries = []
    if checkpoint is not None and not log and not is_known:
        # Another table without a snapshot has replaced the recorded one.
        return [replace(first_entry(table), after_gap=True)]
    for number, visible_at in log[0 if position is None else position + 1 :]:
        snapshot = by_id.get(number)
        if snapshot is None:
            is_known = False
            continue
        after_gap = not is_known or not _follows(snapshot, before, known, by_id)
        entries.append(Entry(snapshot, visible_at, None if after_gap else before, after_gap))
        before, is_known = snapshot, True
        known.add(number)
    return entries


def _position(log: list[tuple[int, datetime]], checkpoint: Publication) -> int | None:
    """Return the position of the checkpoint in the log, -1 before its first entry, None if the log lacks it."""
    if checkpoint.snapshot is None:
        return -1
    found = [at for at, entry in enumerate(log) if entry == (checkpoint.snapshot, checkpoint.visible_at)]
    return found[-1] if found else None


def _follows(
    snapshot: Snapshot, before: Snapshot | None, known: set[int | None], by_id: Mapping[int, Snapshot]
) -> bool:
    """Return whether no entry is missing between two consecutive ones.

    A catalog or writer that expires snapshots by itself may remove entries from the middle of the log.
    """
    if snapshot.snapshot_id in known:
        return True
    if before is None:
        return snapshot.parent_snapshot_id is None
    if (snapshot.sequence_number or 0) < (before.sequence_number or 0):
        return True  # back to a snapshot from before the ledger
    return any(each.snapshot_id in known for each in ancestors(snapshot, by_id))


def time_of(milliseconds: int) -> datetime:
    """Return the time of a number of milliseconds since the epoch."""
    return from_microseconds(milliseconds * 1000)
