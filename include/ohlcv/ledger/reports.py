"""What a recording has recorded, and the state of the ledger of a candle table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ohlcv.model.intervals import iso
from ohlcv.model.ledger_records import Publication


@dataclass
class LedgerReport:
    """Publications and revisions that one recording of a candle table has added to the ledger."""

    timeframe: str
    publications: int = 0
    # Newest recorded publication, None before the ledger begins.
    checkpoint: Publication | None = None
    # Recorded changes of candles by change, and by cause. Insertions by a run are not recorded.
    revisions: dict[str, int] = field(default_factory=dict)
    causes: dict[str, int] = field(default_factory=dict)
    # Time from which the states are known after publications that were lost, None if none were.
    gap: datetime | None = None
    # Why nothing can be recorded.
    unavailable: str | None = None
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "timeframe": self.timeframe,
            "publications": self.publications,
            "number": self.checkpoint.number if self.checkpoint else None,
            "visible_at": iso(self.checkpoint.visible_at) if self.checkpoint else None,
            "revisions": self.revisions,
            "causes": self.causes,
            "gap": iso(self.gap) if self.gap else None,
            "unavailable": self.unavailable,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class LedgerStatus:
    """State of the ledger of a candle table."""

    timeframe: str
    # Time from which the states of the candle table are known, None before the ledger begins.
    begins_at: datetime | None
    checkpoint: Publication | None
    # Publications in the snapshot log that are not recorded yet.
    unrecorded: int
    # When the oldest of them became visible.
    unrecorded_since: datetime | None
    # Times from which the states are known again after publications that were lost.
    gaps: tuple[datetime, ...]
    # Why nothing can be recorded.
    unavailable: str | None
    # Expiry must keep the snapshots of the candle table that were committed at or after this time.
    keep_since: datetime | None
    # Revisions of this timeframe, and the size of their data files.
    rows: int
    size: int

    def to_json(self) -> Mapping[str, Any]:
        """Return the state as JSON values."""
        return {
            "timeframe": self.timeframe,
            "begins_at": _text(self.begins_at),
            "number": self.checkpoint.number if self.checkpoint else None,
            "visible_at": _text(self.checkpoint.visible_at if self.checkpoint else None),
            "unrecorded": self.unrecorded,
            "unrecorded_since": _text(self.unrecorded_since),
            "gaps": [iso(each) for each in self.gaps],
            "unavailable": self.unavailable,
            "keep_since": _text(self.keep_since),
            "rows": self.rows,
            "bytes": self.size,
        }


def _text(time: datetime | None) -> str | None:
    return None if time is None else iso(time)
