"""What the ledger records of a candle table: its publications, and why candles changed.

Existing tables hold the names of triggers, changes and causes, so they never change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

Trigger = Literal[
    "first",  # main's snapshot when the ledger began
    "gap",  # main's snapshot after publications that were lost
    "scheduled",
    "backfill",
    "reprocess",
    "manual",  # a triggered run, or a command
    "rollback",  # main moved to a snapshot of an earlier publication
    "maintenance",  # a compaction: no candle changed
    "retention",
    "other writer",
]
Change = Literal["inserted", "updated", "deleted"]
# Differences of the trades of a window between the trades snapshots of two versions of its candle. `unknown`: one of
# the snapshots has expired, or the writer named none. None of them: the trades are the same.
Cause = Literal["trade added", "trade corrected", "trade removed", "trade moved", "unknown"]


@dataclass(frozen=True)
class Publication:
    """A move of main to a snapshot of a candle table."""

    timeframe: str
    number: int
    trigger: Trigger
    # None while the table has no snapshot.
    snapshot: int | None
    visible_at: datetime
    dag_id: str | None = None
    run_id: str | None = None
    trades_snapshot: int | None = None
    # `updated_at` of the candles that it wrote. Candles created at this time were inserted by it, so the ledger has no
    # row of their insertion.
    written_at: datetime | None = None
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    # First days of the partitions that retention deleted.
    deleted_partitions: tuple[date, ...] = ()

    @property
    def is_base(self) -> bool:
        """Return whether the states before this publication are unknown to the ledger."""
        return self.trigger in ("first", "gap")


@dataclass(frozen=True)
class Ledger:
    """The publications of a candle table without a gap, the oldest first."""

    timeframe: str
    publications: tuple[Publication, ...]

    @classmethod
    def of(cls, timeframe: str, publications: Sequence[Publication]) -> Ledger:
        """Return the ledger after the last gap of all publications of a table.

        Retention deletes publications by their month: where clocks differ, a number before a kept one may be missing.
        """
        ordered = sorted(publications, key=lambda each: each.number)
        begin = 0
        for position in range(1, len(ordered)):
            if ordered[position].is_base or ordered[position].number != ordered[position - 1].number + 1:
                begin = position
        return cls(timeframe, tuple(ordered[begin:]))

    @property
    def checkpoint(self) -> Publication | None:
        """Return the newest publication. None before the ledger began."""
        return self.publications[-1] if self.publications else None

    @property
    def begins_at(self) -> datetime | None:
        """Return the time from which the states of the table are known."""
        return self.publications[0].visible_at if self.publications else None

    def as_of(self, time: datetime) -> Publication | None:
        """Return the publication that readers saw at a time, None before the ledger began."""
        # The newest one with such a time, because clocks of several clients may differ.
        return next((each for each in reversed(self.publications) if each.visible_at <= time), None)
