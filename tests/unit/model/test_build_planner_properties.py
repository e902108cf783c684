"""Property tests of the build planner: whatever changes and in whatever order runs happen, no change is lost.

After enough runs every window is built from its newest trades.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from ohlcv.model.audit_records import HeldSeries
from ohlcv.model.build_planner import HOUR_COST, BuildPlan, plan_build
from ohlcv.model.intervals import HOUR, Range, ceil_time, floor_time, scheduled_range
from ohlcv.model.source_checkpoint import SourceCheckpoint, SourceIdentity
from ohlcv.model.source_hours import hour_number, hours_overlapping, windows_of_hour
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES, TIMEFRAMES, Timeframe
from support.planner_simulation import DAY_START, FIRST_HOUR, MINUTE, SimulatedCandleTable, Slot, check_plan

HOURS = 60
# All windows with trades are complete at this time.
THE_END = DAY_START + timedelta(days=5)
FOUR_HOURS = replace(TIMEFRAMES["1h"], name="4h", length=4 * HOUR, lookback=8 * HOUR)

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
# Runs end in any order: one after the other, after an outage of days, or in the past (a cleared run).
runs = st.tuples(
    st.sampled_from(["run", "run", "run", "killed run"]),
    st.integers(0, (HOURS + 4) * 60).map(lambda minutes: DAY_START + minutes * MINUTE),
    st.sampled_from([1, HOUR_COST + 1, 3 * HOUR_COST, 50_000, 10**9]),
)
expirations = st.tuples(st.just("expire"))
failures = st.tuples(st.just("fail"), st.sets(st.integers(FIRST_HOUR, FIRST_HOUR + HOURS - 1), max_size=4))
# Backfilled or cleared runs, whose range may end inside an hour.
backfills = st.tuples(
    st.just("backfill"),
    st.integers(0, (HOURS + 4) * 60).map(lambda minutes: DAY_START + minutes * MINUTE),
    st.integers(1, 90).map(lambda minutes: minutes * MINUTE),
)
timeframes = st.sampled_from([*DEFAULT_TIMEFRAMES.values(), FOUR_HOURS])


def apply_steps(table: SimulatedCandleTable, steps: Iterable[tuple[object, ...]]) -> None:
    for step in steps:
        match step:
            case ("commit", set() as touched, int() as trades, timedelta() as delay):
                table.trades.commit(touched, trades, delay)
            case ("remove", set() as touched):
                table.trades.remove(touched)
            case ("run", datetime() as end, int() as budget):
                table.run(end, budget)
            case ("killed run", datetime() as end, int() as budget):
                check_plan(table, table.plan(end, budget), budget)  # a killed run stores nothing
            case ("fail", set() as hours):
                starts = (windows_of_hour(table.timeframe, hour).start for hour in hours)
                table.failing = {hour_number(start) for start in starts}
            case ("backfill", datetime() as start, timedelta() as length):
                width = table.timeframe.length
                table.backfill(Range(floor_time(start, width), ceil_time(start + length, width)))
            case ("expire",):
                table.trades.expired_before = len(table.trades.commits)
            case _:
                raise AssertionError(step)


def check_that_runs_catch_up(table: SimulatedCandleTable) -> None:
    """Run with the smallest budget until no hour is pending, and check that every window is up to date."""
    if table.trades.snapshot is None:
        return
    table.run(THE_END, 1)
    for _ in range(HOURS):
        pending = table.checkpoint.pending_hours
        if not pending:
            break
        table.run(THE_END, 1)
        assert table.checkpoint.pending_hours < pending
    assert table.checkpoint.pending_hours == frozenset()
    assert table.stale_windows() == []


@settings(max_examples=400, deadline=None)
@given(timeframe=timeframes, steps=st.lists(commits | removals | runs, max_size=16))
def test_no_pending_hour_is_lost(timeframe: Timeframe, steps: list[tuple[object, ...]]) -> None:
    table = SimulatedCandleTable(timeframe)
    apply_steps(table, steps)
    check_that_runs_catch_up(table)


@settings(max_examples=300, deadline=None)
@given(timeframe=timeframes, steps=st.lists(commits | failures | runs | backfills, max_size=16))
def test_held_series_are_retried_until_their_audit_passes(
    timeframe: Timeframe, steps: list[tuple[object, ...]]
) -> None:
    table = SimulatedCandleTable(timeframe)
    apply_steps(table, steps)
    table.failing = set()
    if table.trades.snapshot is None:
        return
    table.run(THE_END, 1)
    for _ in range(2 * HOURS):
        waiting = table.checkpoint.pending_hours | table.held_hours()
        if not waiting:
            break
        table.run(THE_END, 1)
        assert table.checkpoint.pending_hours | table.held_hours() < waiting
    assert (table.checkpoint.pending_hours, table.checkpoint.held) == (frozenset(), frozenset())
    assert table.stale_windows() == []


@settings(max_examples=300, deadline=None)
@given(timeframe=timeframes, steps=st.lists(commits | runs | expirations, max_size=16))
def test_no_added_trade_is_lost_when_snapshots_expire(timeframe: Timeframe, steps: list[tuple[object, ...]]) -> None:
    table = SimulatedCandleTable(timeframe)
    apply_steps(table, steps)
    check_that_runs_catch_up(table)


@settings(deadline=None)
@given(timeframe=timeframes, steps=st.lists(commits | removals | runs, max_size=8), run=runs)
def test_a_repeated_run_builds_the_same_and_a_backfill_does_not_advance_the_checkpoint(
    timeframe: Timeframe, steps: list[tuple[object, ...]], run: tuple[str, datetime, int]
) -> None:
    table = SimulatedCandleTable(timeframe)
    apply_steps(table, steps)
    _, end, budget = run
    assert table.plan(end, budget) == table.plan(end, budget)
    own_range = scheduled_range(timeframe, end)
    backfill = plan_build(
        timeframe, own_range, table.trades, table.checkpoint, rebuild_pending=False, trade_budget=budget
    )
    # Only what it builds from newer trades than those of the checkpoint is added.
    hours_ahead = table.checkpoint.hours_ahead
    if table.checkpoint.trades_snapshot is not None:
        changed = table.trades.changed_hours(table.checkpoint.trades_snapshot) or set()
        hours_ahead |= changed & hours_overlapping([own_range])
    checkpoint = replace(table.checkpoint, source=table.trades.source, hours_ahead=hours_ahead)
    assert backfill == BuildPlan(
        timeframe, own_range, [own_range], hours_overlapping([own_range]), checkpoint=checkpoint
    )


@given(
    snapshot=st.none() | st.integers(0, 2**63 - 1),
    committed_at=st.none() | st.integers(0, 2**45),
    pending=st.frozensets(st.integers(0, 600_000)),
    since=st.none() | st.integers(0, 600_000),
    source=st.none() | st.builds(SourceIdentity, st.text(), st.text()),
    held=st.frozensets(st.builds(HeldSeries)),
    ahead=st.frozensets(st.integers(0, 600_000)),
)
def test_storing_and_reading_a_checkpoint_is_lossless(
    snapshot: int | None,
    committed_at: int | None,
    pending: frozenset[int],
    since: int | None,
    source: SourceIdentity | None,
    held: frozenset[HeldSeries],
    ahead: frozenset[int],
) -> None:
    checkpoint = SourceCheckpoint(snapshot, committed_at, pending, since, source, held, ahead)
    assert SourceCheckpoint.from_text(checkpoint.to_text()) == checkpoint
