"""In-memory simulation of the trades table and of one candle table, for tests of the build planner.

Each simulated run checks the rules that hold for every build plan.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from ohlcv.model.audit_records import NO_DECISIONS, Decisions, HeldSeries
from ohlcv.model.build_planner import HOUR_COST, BuildPlan, plan_build
from ohlcv.model.intervals import (
    EPOCH,
    HOUR,
    Range,
    floor_time,
    from_microseconds,
    iso,
    merge_ranges,
    parse_time,
    scheduled_range,
)
from ohlcv.model.source_checkpoint import SourceCheckpoint, SourceIdentity
from ohlcv.model.source_hours import hour_number, hours_overlapping, windows_of_hour
from ohlcv.model.timeframes import TIMEFRAMES, Timeframe

MINUTE = timedelta(minutes=1)
DAY_START = from_microseconds(1_772_323_200_000_000)  # 2026-03-01 00:00
FIRST_HOUR = hour_number(DAY_START)
# Commit time of snapshot 0 in milliseconds.
FIRST_COMMIT_TIME = 1_780_000_000_000


class Slot(NamedTuple):
    """A minute that may contain trades."""

    hour: int
    minute: int

    @property
    def time(self) -> datetime:
        return EPOCH + self.hour * HOUR + self.minute * MINUTE


@dataclass
class InMemoryTrades:
    """The metadata of a trades table (`TradesHistory`). Snapshot n is the n-th commit."""

    commits: list[set[Slot]] = field(default_factory=list)
    # Number of trades of each slot, and ingestion time of the newest one in microseconds.
    trades: dict[Slot, int] = field(default_factory=dict)
    ingested: dict[Slot, int] = field(default_factory=dict)
    expired_before: int = 0
    has_ingestion_time: bool = True
    source: SourceIdentity = field(default_factory=lambda: SourceIdentity("the first table"))

    def commit(self, slots: Iterable[Slot], trades: int, delay: timedelta) -> None:
        """Add trades that were ingested `delay` before the commit."""
        self.commits.append(set(slots))
        for slot in self.commits[-1]:
            self.trades[slot] = self.trades.get(slot, 0) + trades
            at = self._commit_time(len(self.commits)) * 1000 - delay // timedelta(microseconds=1)
            self.ingested[slot] = max(at, self.ingested.get(slot, 0))

    def remove(self, slots: Iterable[Slot]) -> None:
        """Remove all trades of the slots."""
        self.commits.append(set(slots) & self.trades.keys())
        for slot in self.commits[-1]:
            del self.trades[slot], self.ingested[slot]

    def version(self, slots: Iterable[Slot]) -> int:
        """Return the last commit that changed one of the slots."""
        wanted = set(slots)
        return max((number for number, touched in enumerate(self.commits, 1) if touched & wanted), default=0)

    def _commit_time(self, snapshot: int) -> int:
        return FIRST_COMMIT_TIME + snapshot * 1000

    @property
    def snapshot(self) -> int | None:
        return len(self.commits) or None

    @property
    def committed_at(self) -> int | None:
        return self._commit_time(len(self.commits)) if self.commits else None

    def changed_hours(self, since: int) -> set[int] | None:
        if since < self.expired_before:
            return None
        return {slot.hour for slots in self.commits[since:] for slot in slots}

    def ingested_hours(self, since_microseconds: int) -> set[int] | None:
        if not self.has_ingestion_time:
            return None
        return {slot.hour for slot, at in self.ingested.items() if at >= since_microseconds}

    def trades_in(self, hours: Iterable[int]) -> dict[int, int]:
        wanted = set(hours)
        counts: dict[int, int] = {}
        for slot, trades in self.trades.items():
            if slot.hour in wanted:
                counts[slot.hour] = counts.get(slot.hour, 0) + trades
        return counts

    def hours_from(self, hour: int) -> set[int]:
        return {slot.hour for slot in self.trades if slot.hour >= hour}


class SimulatedCandleTable:
    """A candle table: the windows that were built, and its source checkpoint."""

    def __init__(self, timeframe: Timeframe) -> None:
        self.timeframe = timeframe
        self.trades = InMemoryTrades()
        self.checkpoint = SourceCheckpoint()
        # Window -> version of the trades from which it was last built.
        self.built: dict[datetime, int] = {}
        # Hours whose new candles fail the audit.
        self.failing: set[int] = set()
        self.decisions: Decisions = NO_DECISIONS

    def window_of(self, slot: Slot) -> datetime:
        return floor_time(slot.time, self.timeframe.length)

    def newest_versions(self) -> dict[datetime, int]:
        """Return the newest version of the trades of each window."""
        windows: dict[datetime, set[Slot]] = {}
        for slot in set().union(*self.trades.commits):
            windows.setdefault(self.window_of(slot), set()).add(slot)
        return {window: self.trades.version(slots) for window, slots in windows.items()}

    def plan(self, end: datetime, budget: int) -> BuildPlan:
        """Return the plan of a scheduled run."""
        own_range = scheduled_range(self.timeframe, end)
        return self._plan(own_range, budget, rebuild_pending=True)

    def _plan(self, own_range: Range, budget: int, *, rebuild_pending: bool) -> BuildPlan:
        return plan_build(
            self.timeframe,
            own_range,
            self.trades,
            self.checkpoint,
            rebuild_pending=rebuild_pending,
            trade_budget=budget,
            decisions=self.decisions,
        )

    def backfill(self, own_range: Range) -> BuildPlan:
        """Plan a run that builds exactly its range, as a backfilled or cleared one, and apply it."""
        plan = self._plan(own_range, 1, rebuild_pending=False)
        self._apply(plan)
        return plan

    def run(self, end: datetime, budget: int) -> BuildPlan:
        """Plan a scheduled run, check the plan, and apply it."""
        plan = self.plan(end, budget)
        check_plan(self, plan, budget)
        newest = self.newest_versions()
        if self.checkpoint.trades_snapshot is None:
            # The first run. Older candles are built by a backfill, which the simulation assumes to have happened.
            self.built = {
                window: version
                for window, version in newest.items()
                if window + self.timeframe.length <= plan.own_range.end
            }
        self._apply(plan)
        if self.trades.snapshot is not None:
            assert self.checkpoint.trades_snapshot == self.trades.snapshot
            for window in self.stale_windows():
                hours = hours_overlapping([Range(window, window + self.timeframe.length)])
                assert hours & (self.checkpoint.pending_hours | self.held_hours()), (
                    f"{window} is neither up to date nor pending nor held"
                )
        return plan

    def _apply(self, plan: BuildPlan) -> None:
        """Build the windows of a plan whose audit passes, hold the others, and store the checkpoint."""
        failed: set[int] = set()
        for window, version in self.newest_versions().items():
            if any(span.start <= window < span.end for span in plan.ranges):
                hour = hour_number(windows_of_hour(self.timeframe, hour_number(window)).start)
                if hour in self.failing:
                    failed.add(hour)
                else:
                    self.built[window] = version
        held = {each.key: each for each in plan.checkpoint.held}
        for new in (held_series(hour, iso(plan.own_range.end)) for hour in failed):
            # A later time remains where a run that ended later has tried the series.
            if new.key not in held or held[new.key].tried < new.tried:
                held[new.key] = new
        checkpoint = replace(plan.checkpoint, held=frozenset(held.values()))
        # The checkpoint is converted to text and back, as it is stored in a snapshot summary.
        self.checkpoint = SourceCheckpoint.from_text(checkpoint.to_text())
        assert self.checkpoint == checkpoint

    def held_hours(self) -> set[int]:
        """Return the hours of all windows of held series."""
        return hours_overlapping(each.span(self.timeframe) for each in self.checkpoint.held)

    def stale_windows(self) -> list[datetime]:
        """Return the windows that are not built from their newest trades."""
        filled = {self.window_of(slot) for slot in self.trades.trades}
        # A window without trades that never had a candle is up to date.
        return [
            window
            for window, version in self.newest_versions().items()
            if self.built.get(window) != version and (window in self.built or window in filled)
        ]


def check_plan(table: SimulatedCandleTable, plan: BuildPlan, budget: int) -> None:
    """Assert the rules that hold for the plan of every scheduled run."""
    timeframe = plan.timeframe
    for hour in hours_overlapping([plan.own_range]) - plan.hours:
        assert hour in plan.unchanged_hours, "an hour of the own range is neither built nor known to be unchanged"
    assert not plan.unchanged_hours & plan.hours
    assert plan.hours == hours_overlapping(plan.ranges)
    assert merge_ranges(plan.ranges) == plan.ranges
    for span in plan.ranges:
        assert (span.start - EPOCH) % timeframe.length == (span.end - EPOCH) % timeframe.length == timedelta(0)
        assert span.end <= plan.own_range.end, "the plan contains a window that is not complete"
    check_held_series(table, plan, budget)
    # Deferred hours, which the run could have built, are older than all hours that it rebuilds.
    deferred = {
        hour
        for hour in plan.checkpoint.pending_hours
        if windows_of_hour(timeframe, hour).end <= plan.own_range.end and table.trades.snapshot is not None
    }
    assert all(max(deferred) < hour for hour in plan.rebuilt_hours if deferred)
    # A run defers hours only if it rebuilds some, so every run reduces the pending hours.
    assert not deferred or plan.rebuilt_hours
    # The hours of one window may exceed the budget. Those of two windows are within it.
    extra = plan.hours - hours_overlapping([plan.own_range])
    cost = sum(table.trades.trades_in(extra).values()) + HOUR_COST * len(extra)
    assert cost <= budget or len({windows_of_hour(timeframe, hour) for hour in extra}) <= 1


def check_held_series(table: SimulatedCandleTable, plan: BuildPlan, budget: int) -> None:
    """Assert that no held series is forgotten before its windows are built, and that it delays no other hour."""
    before, after = table.checkpoint.held, plan.checkpoint.held
    assert after <= before
    for each in before - after:
        span = each.span(plan.timeframe)
        tried = Range(span.start, min(span.end, parse_time(each.tried)[0]))
        assert any(built.start <= tried.start and tried.end <= built.end for built in plan.ranges), each
    without = plan_build(
        plan.timeframe,
        plan.own_range,
        table.trades,
        replace(table.checkpoint, held=frozenset()),
        rebuild_pending=True,
        trade_budget=budget,
    )
    assert plan.checkpoint.pending_hours == without.checkpoint.pending_hours
    assert plan.rebuilt_hours >= without.rebuilt_hours
    assert merge_ranges([*plan.ranges, *without.ranges]) == plan.ranges


def held_series(hour: int, tried: str, symbol: str = "BTC-USD") -> HeldSeries:
    """Return the held windows of a series."""
    return HeldSeries("x", symbol, hour, "none_is_missing", 1, "a1b2c3d4", 7, 1, since=tried, tried=tried)


def table_with_changed_hours(timeframe: str, hours: Iterable[int], trades: int = 100) -> SimulatedCandleTable:
    """Return a table with a checkpoint, and trades added to these hours of the first day after it."""
    table = SimulatedCandleTable(TIMEFRAMES[timeframe])
    table.trades.commit([Slot(FIRST_HOUR, 0)], 1, timedelta(0))
    table.run(DAY_START + HOUR, 1)
    table.trades.commit([Slot(FIRST_HOUR + hour, 0) for hour in hours], trades, timedelta(0))
    return table
