"""What scheduled runs build and owe, against a trades table kept in memory.

The promise: whatever changes, and however the runs fall, every window ends up built from its newest trades.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ohlcv.model.build_planner import HOUR_COST, BuildPlan, SourceCheckpoint, plan_build
from ohlcv.model.intervals import EPOCH, HOUR, Range, floor_time, from_microseconds, merge_ranges, scheduled_range
from ohlcv.model.source_hours import hour_number, hours_overlapping, windows_of_hour
from ohlcv.model.timeframes import TIMEFRAMES, Timeframe

MINUTE = timedelta(minutes=1)
DAY_START = from_microseconds(1_772_323_200_000_000)  # 2026-03-01 00:00
FIRST_HOUR = hour_number(DAY_START)
HOURS = 60
# Long after every trade: all windows are complete.
THE_END = DAY_START + timedelta(days=5)
FOUR_HOURS = replace(TIMEFRAMES["1h"], name="4h", length=4 * HOUR, lookback=8 * HOUR)
# What the commit times of the trades count from, in milliseconds.
CLOCK = 1_780_000_000_000


class Slot(NamedTuple):
    """A minute that may hold trades."""

    hour: int
    minute: int

    @property
    def time(self) -> datetime:
        return EPOCH + self.hour * HOUR + self.minute * MINUTE


@dataclass
class TradesInMemory:
    """The trades table as planning sees it: snapshot n is the n-th commit."""

    commits: list[set[Slot]] = field(default_factory=list)
    # Trades of each slot, and when the newest of them was ingested, in microseconds.
    trades: dict[Slot, int] = field(default_factory=dict)
    ingested: dict[Slot, int] = field(default_factory=dict)
    expired_before: int = 0

    def commit(self, slots: Iterable[Slot], trades: int, delay: timedelta) -> None:
        """Add trades, each ingested a while before the commit."""
        self.commits.append(set(slots))
        for slot in self.commits[-1]:
            self.trades[slot] = self.trades.get(slot, 0) + trades
            at = self._time(len(self.commits)) * 1000 - delay // timedelta(microseconds=1)
            self.ingested[slot] = max(at, self.ingested.get(slot, 0))

    def remove(self, slots: Iterable[Slot]) -> None:
        """Remove all trades of those slots, where there are any."""
        self.commits.append(set(slots) & self.trades.keys())
        for slot in self.commits[-1]:
            del self.trades[slot], self.ingested[slot]

    def version(self, slots: Iterable[Slot]) -> int:
        """Give the last commit that touched one of the slots."""
        wanted = set(slots)
        return max((number for number, touched in enumerate(self.commits, 1) if touched & wanted), default=0)

    def _time(self, snapshot: int) -> int:
        return CLOCK + snapshot * 1000

    @property
    def snapshot(self) -> int | None:
        return len(self.commits) or None

    @property
    def committed_at(self) -> int | None:
        return self._time(len(self.commits)) if self.commits else None

    def changed_hours(self, since: int) -> set[int] | None:
        if since < self.expired_before:
            return None
        return {slot.hour for slots in self.commits[since:] for slot in slots}

    def ingested_hours(self, since_microseconds: int) -> set[int]:
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


class House:
    """One candle table: the windows it holds, and its record of what it looked at."""

    def __init__(self, timeframe: Timeframe) -> None:
        self.timeframe = timeframe
        self.history = TradesInMemory()
        self.progress = SourceCheckpoint()
        # Window -> the version of its trades it was last built from.
        self.built: dict[datetime, int] = {}

    def window_of(self, slot: Slot) -> datetime:
        return floor_time(slot.time, self.timeframe.length)

    def wanted(self) -> dict[datetime, int]:
        """Give the newest version of every window's trades."""
        windows: dict[datetime, set[Slot]] = {}
        for slot in set().union(*self.history.commits):
            windows.setdefault(self.window_of(slot), set()).add(slot)
        return {window: self.history.version(slots) for window, slots in windows.items()}

    def plan(self, end: datetime, budget: int) -> BuildPlan:
        own = scheduled_range(self.timeframe, end)
        return plan_build(self.timeframe, own, self.history, self.progress, rebuild_pending=True, trade_budget=budget)

    def run(self, end: datetime, budget: int) -> BuildPlan:
        """Plan a scheduled run, check what holds for each, and let it succeed."""
        plan = self.plan(end, budget)
        check_plan(self, plan, budget)
        wanted = self.wanted()
        if self.progress == SourceCheckpoint():
            # The first run. History is a backfill's work: take it as done.
            self.built = {
                window: version
                for window, version in wanted.items()
                if window + self.timeframe.length <= plan.own_range.end
            }
        for window, version in wanted.items():
            if any(span.start <= window < span.end for span in plan.ranges):
                self.built[window] = version
        # As it is stored: written into a summary and read back.
        self.progress = SourceCheckpoint.from_text(plan.checkpoint.to_text())
        assert self.progress == plan.checkpoint
        if self.history.snapshot is not None:
            assert self.progress.trades_snapshot == self.history.snapshot
            for window in self.stale():
                hours = hours_overlapping([Range(window, window + self.timeframe.length)])
                assert hours & self.progress.pending_hours, f"{window} is neither built from its newest trades nor owed"
        return plan

    def stale(self) -> list[datetime]:
        """Give the windows that are not built from their newest trades."""
        filled = {self.window_of(slot) for slot in self.history.trades}
        # A window that never had a candle and has no trades is right as it is.
        return [
            window
            for window, version in self.wanted().items()
            if self.built.get(window) != version and (window in self.built or window in filled)
        ]


def check_plan(house: House, plan: BuildPlan, budget: int) -> None:
    of = plan.timeframe
    for hour in hours_overlapping([plan.own_range]) - plan.hours:
        assert hour in plan.unchanged_hours, "an hour of the run's own range is neither built nor known to be unchanged"
    assert plan.hours == hours_overlapping(plan.ranges)
    assert merge_ranges(plan.ranges) == plan.ranges
    for span in plan.ranges:
        assert (span.start - EPOCH) % of.length == (span.end - EPOCH) % of.length == timedelta(0)
        assert span.end <= plan.own_range.end, "a window that is not complete at the run's end is built"
    # What a run leaves for later although it could build it is older than all it repairs.
    left = {
        hour
        for hour in plan.checkpoint.pending_hours
        if windows_of_hour(of, hour).end <= plan.own_range.end and house.history.snapshot is not None
    }
    assert all(max(left) < hour for hour in plan.rebuilt_hours if left)
    # It leaves something only when it did something, so the debt shrinks at every run.
    assert not left or plan.rebuilt_hours
    # One unit (the hours of one window) may be too large for the budget; two are within it.
    extra = plan.hours - hours_overlapping([plan.own_range])
    assert not plan.unchanged_hours & plan.hours
    cost = sum(house.history.trades_in(extra).values()) + HOUR_COST * len(extra)
    units = {windows_of_hour(of, hour) for hour in extra}
    assert cost <= budget or len(units) <= 1


slots = st.builds(
    Slot,
    st.integers(FIRST_HOUR, FIRST_HOUR + HOURS - 1),
    st.sampled_from([0, 1, 4, 5, 29, 30, 58, 59]),
)
commits = st.tuples(
    st.just("commit"),
    st.sets(slots, min_size=1, max_size=6),
    st.integers(1, 20_000),
    st.integers(0, 60).map(lambda minutes: minutes * MINUTE),
)
removals = st.tuples(st.just("remove"), st.sets(slots, min_size=1, max_size=6))
# Any end: in order, after an outage of days, or back in the past (a cleared run).
runs = st.tuples(
    st.sampled_from(["run", "run", "run", "killed run"]),
    st.integers(0, (HOURS + 4) * 60).map(lambda minutes: DAY_START + minutes * MINUTE),
    st.sampled_from([1, HOUR_COST + 1, 3 * HOUR_COST, 50_000, 10**9]),
)
expiries = st.tuples(st.just("expire"))
timeframes = st.sampled_from([*TIMEFRAMES.values(), FOUR_HOURS])


def play(house: House, steps: Iterable[tuple[object, ...]]) -> None:
    for step in steps:
        match step:
            case ("commit", set() as touched, int() as trades, timedelta() as delay):
                house.history.commit(touched, trades, delay)
            case ("remove", set() as touched):
                house.history.remove(touched)
            case ("run", datetime() as end, int() as budget):
                house.run(end, budget)
            case ("killed run", datetime() as end, int() as budget):
                check_plan(house, house.plan(end, budget), budget)  # nothing of it is ever stored
            case ("expire",):
                house.history.expired_before = len(house.history.commits)
            case _:
                raise AssertionError(step)


def catch_up(house: House) -> None:
    """Let runs with the smallest budget come after everything: they must end, with nothing missing."""
    if house.history.snapshot is None:
        return
    house.run(THE_END, 1)
    for _ in range(HOURS):
        owed = house.progress.pending_hours
        if not owed:
            break
        house.run(THE_END, 1)
        assert house.progress.pending_hours < owed
    assert house.progress.pending_hours == frozenset()
    assert house.stale() == []


@settings(max_examples=400, deadline=None)
@given(timeframe=timeframes, steps=st.lists(commits | removals | runs, max_size=16))
def test_nothing_owed_is_ever_lost(timeframe: Timeframe, steps: list[tuple[object, ...]]) -> None:
    house = House(timeframe)
    play(house, steps)
    catch_up(house)


@settings(max_examples=300, deadline=None)
@given(timeframe=timeframes, steps=st.lists(commits | runs | expiries, max_size=16))
def test_nothing_added_is_lost_where_snapshots_expire(timeframe: Timeframe, steps: list[tuple[object, ...]]) -> None:
    house = House(timeframe)
    play(house, steps)
    catch_up(house)


@settings(deadline=None)
@given(timeframe=timeframes, steps=st.lists(commits | removals | runs, max_size=8), run=runs)
def test_a_run_repeated_builds_the_same_and_a_backfill_moves_nothing(
    timeframe: Timeframe, steps: list[tuple[object, ...]], run: tuple[str, datetime, int]
) -> None:
    house = House(timeframe)
    play(house, steps)
    _, end, budget = run
    assert house.plan(end, budget) == house.plan(end, budget)
    own = scheduled_range(timeframe, end)
    backfill = plan_build(timeframe, own, house.history, house.progress, rebuild_pending=False, trade_budget=budget)
    assert backfill == BuildPlan(timeframe, own, [own], hours_overlapping([own]), checkpoint=house.progress)


@given(
    snapshot=st.none() | st.integers(0, 2**63 - 1),
    at=st.none() | st.integers(0, 2**45),
    owed=st.frozensets(st.integers(0, 600_000)),
    since=st.none() | st.integers(0, 600_000),
)
def test_progress_survives_being_written_and_read(
    snapshot: int | None, at: int | None, owed: frozenset[int], since: int | None
) -> None:
    progress = SourceCheckpoint(snapshot, at, owed, since)
    assert SourceCheckpoint.from_text(progress.to_text()) == progress


def house_with(timeframe: str, hours: Iterable[int], trades: int = 100) -> House:
    """Give a house that has looked at an empty hour and then got trades in those hours of the day."""
    house = House(TIMEFRAMES[timeframe])
    house.history.commit([Slot(FIRST_HOUR, 0)], 1, timedelta(0))
    house.run(DAY_START + HOUR, 1)
    house.history.commit([Slot(FIRST_HOUR + hour, 0) for hour in hours], trades, timedelta(0))
    return house


def hours_of(plan: BuildPlan) -> list[int]:
    return sorted(hour - FIRST_HOUR for hour in plan.rebuilt_hours)


def test_after_an_outage_the_newest_hours_come_first_within_the_budget() -> None:
    house = house_with("1m", range(1, 9))
    end = DAY_START + 12 * HOUR
    two_hours = 2 * (HOUR_COST + 100)
    repaired = [hours_of(house.run(end, two_hours)) for _ in range(4)]
    assert repaired == [[7, 8], [5, 6], [3, 4], [1, 2]]
    assert house.stale() == []


def test_an_hour_larger_than_the_budget_is_built_alone() -> None:
    house = house_with("1m", [3, 4, 5], trades=10_000_000)
    assert [hours_of(house.run(DAY_START + 12 * HOUR, 1)) for _ in range(3)] == [[5], [4], [3]]


def test_a_large_hour_does_not_wait_behind_small_older_ones() -> None:
    """The large hour is the second: the small ones behind it must not overtake it run after run."""
    house = house_with("1m", [8, 2, 1])
    house.history.commit([Slot(FIRST_HOUR + 5, 0)], 10_000_000, timedelta(0))
    end = DAY_START + 12 * HOUR
    assert [hours_of(house.run(end, 20_000)) for _ in range(3)] == [[8], [5], [1, 2]]


def test_hours_of_the_own_range_that_did_not_change_are_not_read_again() -> None:
    house = house_with("1h", [1, 2, 3])
    assert house.run(DAY_START + 3 * HOUR, 10**9).unchanged_hours == set()
    # An hour later its lookback reaches back over hour 2, which is as it was; hour 3 is new.
    plan = house.run(DAY_START + 4 * HOUR, 10**9)
    assert plan.ranges == [Range(DAY_START + 3 * HOUR, DAY_START + 4 * HOUR)]
    assert plan.unchanged_hours == {FIRST_HOUR + 2}
    # A late trade makes it read again; nothing new at all, and nothing is read.
    house.history.commit([Slot(FIRST_HOUR + 2, 7)], 1, timedelta(0))
    assert house.run(DAY_START + 4 * HOUR, 10**9).ranges == [Range(DAY_START + 2 * HOUR, DAY_START + 3 * HOUR)]
    plan = house.run(DAY_START + 4 * HOUR, 10**9)
    assert (plan.ranges, plan.hours, plan.unchanged_hours) == ([], set(), {FIRST_HOUR + 2, FIRST_HOUR + 3})
    # One who prunes asks about hours whose trades have gone.
    own = scheduled_range(house.timeframe, DAY_START + 4 * HOUR)
    pruned = plan_build(
        house.timeframe, own, house.history, house.progress, rebuild_pending=True, trade_budget=1, prune=True
    )
    assert pruned.ranges == [own]


def test_hours_before_the_first_run_were_never_built() -> None:
    house = house_with("1h", [1, 2, 3, 4, 5, 6])
    house.progress = SourceCheckpoint()
    house.run(DAY_START + 5 * HOUR, 10**9)
    assert house.progress.built_since == FIRST_HOUR + 3
    # A site lengthened the lookback: what it newly reaches is built, although nothing changed there.
    house.timeframe = replace(house.timeframe, lookback=4 * HOUR)
    plan = house.run(DAY_START + 6 * HOUR, 10**9)
    assert plan.ranges == [
        Range(DAY_START + 2 * HOUR, DAY_START + 3 * HOUR),
        Range(DAY_START + 5 * HOUR, DAY_START + 6 * HOUR),
    ]
    assert house.progress.built_since == FIRST_HOUR + 2


def test_a_range_that_ends_before_the_first_leaves_a_gap() -> None:
    house = house_with("1h", [1, 2, 3, 4, 5, 6, 7])
    house.progress = SourceCheckpoint()
    house.run(DAY_START + 8 * HOUR, 10**9)
    house.run(DAY_START + 3 * HOUR, 10**9)
    assert house.progress.built_since == FIRST_HOUR + 6


def test_the_hours_of_a_day_are_built_together() -> None:
    house = house_with("1d", [3, 4, 20])
    end = DAY_START + timedelta(days=4)
    plan = house.run(end, 1)
    assert hours_of(plan) == [0, 3, 4, 20]
    assert plan.ranges == [Range(DAY_START, DAY_START + timedelta(days=1))]


def test_a_day_in_the_lookback_costs_nothing_extra() -> None:
    house = house_with("1d", [3, 4, 20])
    plan = house.run(DAY_START + timedelta(days=1), 1)
    assert (plan.rebuilt_hours, plan.ranges) == (set(), [Range(DAY_START, DAY_START + timedelta(days=1))])
    assert plan.checkpoint.pending_hours == frozenset()


def test_only_windows_complete_at_the_end_are_built_and_the_rest_is_owed() -> None:
    house = house_with("5m", [1, 3])
    plan = house.run(DAY_START + HOUR + 32 * MINUTE, 10**9)
    assert plan.ranges == [Range(DAY_START + HOUR, DAY_START + HOUR + 30 * MINUTE)]
    assert plan.checkpoint.pending_hours == {FIRST_HOUR + 1, FIRST_HOUR + 3}


def test_the_notes_say_what_a_person_must_know() -> None:
    house = House(TIMEFRAMES["1m"])
    house.history.commit([Slot(FIRST_HOUR, 0)], 1, timedelta(0))
    assert house.run(DAY_START + HOUR, 1).notes == [
        "nothing is recorded yet: only the run's own range is built, older candles are a backfill's work"
    ]
    house.history.commit([Slot(FIRST_HOUR + hour, 0) for hour in range(4)], 1, timedelta(0))
    assert house.run(DAY_START + 9 * HOUR, 1).notes == ["3 changed hours are left to the next runs"]
    house.history.commit([Slot(FIRST_HOUR, 0)], 1, timedelta(0))
    house.history.expired_before = 3
    notes = house.run(DAY_START + 9 * HOUR, 10**9).notes
    assert len(notes) == 1
    assert notes[0].startswith("the recorded trades snapshot 2 has expired")
    assert house.stale() == []


def test_with_no_trades_at_all_the_record_stays_as_it_is() -> None:
    house = House(TIMEFRAMES["1h"])
    plan = house.run(DAY_START + 9 * HOUR, 1)
    assert (plan.ranges, plan.checkpoint, plan.notes) == ([plan.own_range], SourceCheckpoint(), [])


@pytest.mark.parametrize("delay", [timedelta(0), timedelta(minutes=59)])
def test_an_expired_snapshot_is_searched_by_ingestion_time(delay: timedelta) -> None:
    house = House(TIMEFRAMES["1m"])
    house.history.commit([Slot(FIRST_HOUR, 0)], 1, timedelta(0))
    house.run(DAY_START + HOUR, 1)
    house.history.commit([Slot(FIRST_HOUR + 1, 0)], 1, delay)
    house.history.expired_before = 2
    assert FIRST_HOUR + 1 in house.run(DAY_START + 9 * HOUR, 10**9).rebuilt_hours
