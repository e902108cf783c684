"""What one run builds: its own range, and the old hours whose trades have changed since they were last looked at.

Everything here is decided from the trades table's own metadata and from what the candle table records, so that
a run repeated builds the same. The access to the metadata is `TradesHistory`; the Spark jobs implement it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from ohlcv.model.intervals import HOUR, MICROSECOND, Range, merge_ranges
from ohlcv.model.source_hours import format_hours, hour_number, hours_overlapping, parse_hours, windows_of_hour
from ohlcv.model.timeframes import Timeframe

# What opening and carrying over one more old hour costs, in trades read in the same time.
HOUR_COST = 5_000
# A trade is stamped before the commit that brings it: how far back stamps may lie behind the commit.
INGESTION_SLACK = HOUR


@dataclass(frozen=True)
class Progress:
    """How far a candle table has looked at the changes of the trades table."""

    # Every change up to this snapshot of the trades was looked at: built, or still owed.
    examined_snapshot: int | None = None
    # When that snapshot was committed, in milliseconds: where it has expired, the search starts from here.
    examined_at: int | None = None
    # Hours that changed and are not built yet, or not to their end.
    owed: frozenset[int] = frozenset()
    # The first hour of those that were built ever since, unless they are owed.
    since: int | None = None

    def to_text(self) -> str:
        """Write the progress for a snapshot's summary or a table property."""
        return json.dumps(
            {
                "snapshot": self.examined_snapshot,
                "at": self.examined_at,
                "owed": format_hours(self.owed),
                "since": self.since,
            }
        )

    @classmethod
    def from_text(cls, text: str) -> Progress:
        """Read what `to_text` wrote."""
        values = json.loads(text)
        return cls(values["snapshot"], values["at"], frozenset(parse_hours(values["owed"])), values["since"])


class TradesHistory(Protocol):
    """What the trades table's metadata tells, without reading trades."""

    @property
    def snapshot(self) -> int | None:
        """The current snapshot, which the whole run reads; None while the table has none."""

    @property
    def committed_at(self) -> int | None:
        """When it was committed, in milliseconds."""

    def changed_hours(self, since: int) -> set[int] | None:
        """Give the hours whose files differ between a snapshot and the current one; None where it is gone."""

    def ingested_hours(self, since_microseconds: int) -> set[int]:
        """Give the hours of trades ingested at or after a time."""

    def trades_in(self, hours: Iterable[int]) -> Mapping[int, int]:
        """Count the trades of those hours that have any."""

    def hours_from(self, hour: int) -> set[int]:
        """Give the hours at or after one that hold trades."""


@dataclass(frozen=True)
class BuildPlan:
    """The windows a run builds and what it will have looked at afterwards."""

    timeframe: Timeframe
    own: Range
    ranges: list[Range]
    hours: set[int]
    repaired: set[int] = field(default_factory=set)
    # Hours of its own range that are as they were when their windows were built: not read again.
    unchanged: set[int] = field(default_factory=set)
    progress: Progress = Progress()
    notes: list[str] = field(default_factory=list)


def plan_build(
    timeframe: Timeframe,
    own: Range,
    history: TradesHistory,
    progress: Progress,
    *,
    repair: bool,
    repair_trades: int,
    prune: bool = False,
) -> BuildPlan:
    """Decide what a run builds. Only a repairing run (a scheduled one) moves the progress."""
    plan = BuildPlan(timeframe, own, [own], hours_overlapping([own]), progress=progress)
    if not repair or history.snapshot is None:
        return plan

    changed, is_exact, notes = _changes(timeframe, history, progress)
    # Pruning asks about hours in which nothing changed but their trades have gone.
    fresh = [own] if prune or not is_exact else _changed_windows(timeframe, own, changed, progress)
    owed, expired = _kept(timeframe, own, changed | progress.owed)
    if expired:
        notes.append(f"{len(expired)} changed hours are older than what is kept and are not built")
    chosen, left = _choose(timeframe, own, history, owed, repair_trades)
    if left:
        notes.append(f"{len(left)} changed hours are left to the next runs")
    repaired = (_buildable(timeframe, hour, own) for hour in chosen)
    ranges = merge_ranges([*fresh, *(span for span in repaired if span)])
    # Hours that end behind this run's range have windows that are not complete yet: a run that comes after
    # a pause, when its lookback no longer reaches them, still owes those windows.
    unfinished = {
        hour
        for hour in history.hours_from(hour_number(own.end)) | owed
        if windows_of_hour(timeframe, hour).end > own.end
    }
    return replace(
        plan,
        ranges=ranges,
        hours=hours_overlapping(ranges),
        repaired=chosen,
        unchanged=hours_overlapping([own]) - hours_overlapping(ranges),
        progress=Progress(
            history.snapshot, history.committed_at, frozenset(left | unfinished), _built_since(own, progress)
        ),
        notes=notes,
    )


def _changes(timeframe: Timeframe, history: TradesHistory, progress: Progress) -> tuple[set[int], bool, list[str]]:
    """Give the hours that changed, whether these are all of them, and what there is to say."""
    if progress.examined_snapshot is None:
        return (
            set(),
            False,
            ["nothing is recorded yet: only the run's own range is built, older candles are a backfill's work"],
        )
    if progress.examined_snapshot == history.snapshot:
        return set(), True, []
    changed = history.changed_hours(progress.examined_snapshot)
    if changed is not None:
        return changed, True, []
    slack = max(timeframe.lookback, INGESTION_SLACK)
    since = (progress.examined_at or 0) * 1000 - slack // MICROSECOND
    note = (
        f"the recorded trades snapshot {progress.examined_snapshot} has expired: changed hours are found by "
        "ingestion time, so trades deleted meanwhile are not"
    )
    return history.ingested_hours(since), False, [note]


def _changed_windows(timeframe: Timeframe, own: Range, changed: set[int], progress: Progress) -> list[Range]:
    """Leave out of a run's own range the windows that were built from the trades as they still are."""
    found = []
    for hour in sorted(hours_overlapping([own])):
        span = windows_of_hour(timeframe, hour)
        hours = hours_overlapping([span])
        if progress.since is None or min(hours) < progress.since or hours & (changed | progress.owed):
            found.append(Range(max(span.start, own.start), min(span.end, own.end)))
    return merge_ranges(found)


def _built_since(own: Range, progress: Progress) -> int:
    """Give the first whole hour from which everything is built or owed, after a run of that range."""
    first, end = hour_number(own.start + HOUR - MICROSECOND), hour_number(own.end)
    # A range that ends before the others began leaves a gap that nobody has built.
    if progress.since is None or first <= progress.since <= end:
        return first
    return progress.since


def _kept(timeframe: Timeframe, own: Range, hours: set[int]) -> tuple[set[int], set[int]]:
    """Share hours into those whose candles are kept and those that retention would take away again."""
    cutoff = timeframe.cutoff(own.end.date())
    expired = {hour for hour in hours if windows_of_hour(timeframe, hour).start.date() < cutoff}
    return hours - expired, expired


def _choose(
    timeframe: Timeframe, own: Range, history: TradesHistory, owed: set[int], repair_trades: int
) -> tuple[set[int], set[int]]:
    """Share the owed hours into those this run repairs, newest first within its budget, and the rest."""
    # Hours of one window (all those of a day, for a day candle) are built together or not at all.
    units: dict[Range, set[int]] = {}
    for hour in owed:
        span = _buildable(timeframe, hour, own)
        if span is not None and not (own.start <= span.start and span.end <= own.end):
            units.setdefault(span, set()).add(hour)
    chosen: set[int] = set()
    left: set[int] = set()
    read = hours_overlapping([own])
    spent = 0
    for span in sorted(units, reverse=True):
        extra = hours_overlapping([span]) - read
        cost = 0
        # Once a unit has to wait, so do all older ones, unread: lest a large one waits for ever.
        if not left and extra:
            cost = sum(history.trades_in(extra).values()) + HOUR_COST * len(extra)
        # The first unit is taken however large it is: the debt must shrink at every run.
        if left or (spent and spent + cost > repair_trades):
            left |= units[span]
            continue
        spent += cost
        read |= extra
        chosen |= units[span]
    return chosen, left


def _buildable(timeframe: Timeframe, hour: int, own: Range) -> Range | None:
    """Give the windows of an hour that are complete when the run's range ends."""
    span = windows_of_hour(timeframe, hour)
    end = min(span.end, own.end)
    return Range(span.start, end) if span.start < end else None
