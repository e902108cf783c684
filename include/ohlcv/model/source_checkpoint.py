"""Source checkpoint of a candle table: how far it has processed the changes of the trades table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ohlcv.model.audit_records import HeldSeries, held_from_json, held_to_json
from ohlcv.model.source_hours import format_hours, parse_hours


@dataclass(frozen=True)
class SourceIdentity:
    """What trades are read: a table, and the mapping of its columns."""

    # UUID of the table. A table that replaces another one has another UUID.
    table: str
    # Fingerprint of the mapping, empty for the default.
    mapping: str = ""


@dataclass(frozen=True)
class SourceCheckpoint:
    """How far a candle table has processed the changes of the trades table."""

    # All changes up to this snapshot of the trades table are built or pending. None before the first scheduled run.
    trades_snapshot: int | None = None
    # Commit time of that snapshot in milliseconds. Used when the snapshot has expired.
    committed_at: int | None = None
    # Changed hours that are not built yet, or not to their end.
    pending_hours: frozenset[int] = frozenset()
    # Every hour from this one on is built or pending.
    built_since: int | None = None
    # The trades that the candles were built from. None in checkpoints of versions that did not record it.
    source: SourceIdentity | None = None
    # Series whose candles failed the audit.
    held: frozenset[HeldSeries] = frozenset()
    # Hours that other runs than scheduled ones have built from newer trades than those of the snapshot. If these change
    # back, the hours differ from their candles, but not from the snapshot.
    hours_ahead: frozenset[int] = frozenset()

    def to_text(self) -> str:
        """Return the JSON stored in a snapshot summary or a table property. Existing tables fix its key names."""
        values: dict[str, Any] = {
            "snapshot": self.trades_snapshot,
            "at": self.committed_at,
            "owed": format_hours(self.pending_hours),
            "since": self.built_since,
        }
        if self.source is not None:
            values |= {"table": self.source.table, "mapping": self.source.mapping}
        if self.hours_ahead:
            values |= {"ahead": format_hours(self.hours_ahead)}
        if self.held:
            values |= {"held": held_to_json(self.held)}
        return json.dumps(values)

    @classmethod
    def from_text(cls, text: str) -> SourceCheckpoint:
        """Return the checkpoint that `to_text` wrote."""
        values = json.loads(text)
        return cls(
            trades_snapshot=values["snapshot"],
            committed_at=values["at"],
            pending_hours=frozenset(parse_hours(values["owed"])),
            built_since=values["since"],
            hours_ahead=frozenset(parse_hours(values.get("ahead", ""))),
            source=SourceIdentity(values["table"], values["mapping"]) if "table" in values else None,
            held=held_from_json(values.get("held", ())),
        )
