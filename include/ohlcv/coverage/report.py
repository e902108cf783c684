"""What one recording of the coverage has counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ohlcv.model.intervals import iso


@dataclass
class CoverageReport:
    """Hours and trades that one recording has counted."""

    # The trades snapshot in which they were counted, None while the trades table has none.
    trades_snapshot: int | None = None
    hours: int = 0
    # Hours without trades that had some.
    expired_hours: int = 0
    # Hours that are left for the next recording.
    pending_hours: int = 0
    # Series of the counted hours, and their rows of the trades table by verdict.
    series: int = 0
    deliveries: int = 0
    accepted: int = 0
    duplicates: int = 0
    superseded: int = 0
    rejected: int = 0
    # All hours before this time are counted, except those that are pending.
    until: datetime | None = None
    # Why all hours are counted, None if only changed ones are.
    full: str | None = None
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "trades_snapshot": self.trades_snapshot,
            "hours": self.hours,
            "expired_hours": self.expired_hours,
            "pending_hours": self.pending_hours,
            "series": self.series,
            "deliveries": self.deliveries,
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "superseded": self.superseded,
            "rejected": self.rejected,
            "until": None if self.until is None else iso(self.until),
            "full": self.full,
            "seconds": round(self.seconds, 3),
        }
