"""When a run builds the windows of held series again, and when it releases them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from ohlcv.model.audit_records import Decisions, HeldSeries, Retry
from ohlcv.model.build_planner import HOUR_COST, BuildPlan, plan_build
from ohlcv.model.intervals import HOUR, Range, iso
from ohlcv.model.source_checkpoint import SourceCheckpoint, SourceIdentity
from support.planner_simulation import (
    DAY_START,
    FIRST_HOUR,
    MINUTE,
    InMemoryTrades,
    SimulatedCandleTable,
    Slot,
    held_series,
    table_with_changed_hours,
)

NOON = DAY_START + 12 * HOUR
A_DAY = timedelta(days=1)


def held_at(hour: int, tried: datetime, symbol: str = "BTC-USD") -> HeldSeries:
    """Return a held series in an hour, counted from the start of the first day."""
    return held_series(FIRST_HOUR + hour, iso(tried), symbol)


def table_with_held(timeframe: str, *held: HeldSeries, hours: int = 11) -> SimulatedCandleTable:
    """Return a table that is built until noon from hours with 100 trades each, except the held series."""
    table = table_with_changed_hours(timeframe, range(hours + 1))
    table.run(NOON, 10**9)
    assert not [hour for hour in table.checkpoint.pending_hours if hour < FIRST_HOUR + 11]
    table.checkpoint = replace(table.checkpoint, held=frozenset(held))
    return table


def held_hours(plan: BuildPlan) -> list[int]:
    return sorted(each.hour - FIRST_HOUR for each in plan.checkpoint.held)


def test_a_run_builds_all_windows_of_the_held_series_whose_hour_it_reads() -> None:
    held = held_at(12, NOON + 5 * MINUTE)
    table = table_with_held("1m", held, held_at(3, NOON))
    table.trades.commit([Slot(FIRST_HOUR + 12, 16)], 1, timedelta(0))
    plan = table.plan(NOON + 20 * MINUTE, 1)
    assert plan.ranges == [Range(NOON, NOON + 20 * MINUTE)]
    assert held_hours(plan) == [3]
    # The validation visits the rebuilt hours of a commit, and its own range.
    assert plan.rebuilt_hours == {FIRST_HOUR + 12}
    assert FIRST_HOUR + 12 not in plan.unchanged_hours


def test_an_unchanged_hour_is_not_read_again_for_its_held_series() -> None:
    table = table_with_held("1h", held_at(11, NOON))
    table.trades.commit([Slot(FIRST_HOUR + 12, 1)], 1, timedelta(0))
    plan = table.plan(NOON + 59 * MINUTE, 10**9)
    assert (plan.ranges, held_hours(plan)) == ([], [11])


@pytest.mark.parametrize(("minutes", "retried"), [(59, False), (60, True), (600, True)])
def test_a_held_series_is_retried_an_hour_after_its_last_try(minutes: int, *, retried: bool) -> None:
    table = table_with_held("1m", held_at(5, NOON))
    plan = table.plan(NOON + minutes * MINUTE, 1)
    assert (Range(DAY_START + 5 * HOUR, DAY_START + 6 * HOUR) in plan.ranges) == retried
    assert held_hours(plan) == ([] if retried else [5])
    assert (FIRST_HOUR + 5 in plan.rebuilt_hours) == retried


def test_the_held_day_of_daily_candles_is_retried_as_a_whole() -> None:
    table = table_with_changed_hours("1d", range(12))
    table.run(DAY_START + A_DAY, 10**9)
    table.checkpoint = replace(table.checkpoint, held=frozenset({held_at(0, DAY_START + A_DAY)}))
    plan = table.plan(DAY_START + 4 * A_DAY, 1)
    assert (plan.ranges, held_hours(plan)) == ([Range(DAY_START, DAY_START + A_DAY)], [])


def test_a_requested_retry_happens_once_at_the_next_scheduled_run() -> None:
    held = held_at(5, NOON)
    table = table_with_held("1m", held, held_at(4, NOON))
    table.decisions = Decisions(retries=(Retry(held.exchange, held.symbol, held.hour, held.tried),))
    table.failing = {FIRST_HOUR + 5}
    plan = table.run(NOON + 5 * MINUTE, 1)
    assert (plan.rebuilt_hours, held_hours(plan)) == ({FIRST_HOUR + 5}, [4])
    assert {each.hour: each.tried for each in table.checkpoint.held}[FIRST_HOUR + 5] == iso(NOON + 5 * MINUTE)
    assert table.plan(NOON + 10 * MINUTE, 1).rebuilt_hours == set()


def test_a_request_does_not_extend_a_backfill() -> None:
    held = held_at(5, NOON)
    table = table_with_held("1m", held)
    table.decisions = Decisions(retries=(Retry(held.exchange, held.symbol, held.hour, held.tried),))
    assert table.backfill(Range(DAY_START + HOUR, DAY_START + 2 * HOUR)).rebuilt_hours == set()
    assert table.checkpoint.held == {held}


def test_a_held_series_is_retried_when_its_trades_change() -> None:
    table = table_with_held("1m", held_at(5, NOON))
    table.trades.commit([Slot(FIRST_HOUR + 5, 30)], 1, timedelta(0))
    plan = table.plan(NOON + 5 * MINUTE, 1)
    assert (plan.rebuilt_hours, held_hours(plan)) == ({FIRST_HOUR + 5}, [])


def test_held_series_wait_until_no_other_hour_is_deferred() -> None:
    table = table_with_held("1m", held_at(9, NOON - 2 * HOUR))
    table.trades.commit([Slot(FIRST_HOUR + 3, 0)], 1, timedelta(0))
    table.trades.commit([Slot(FIRST_HOUR + 2, 0)], 100_000, timedelta(0))
    end = NOON + 5 * MINUTE
    # Enough for the held series, but not for the deferred hour.
    plans = [table.run(end, 3 * HOUR_COST) for _ in range(3)]
    assert [sorted(hour - FIRST_HOUR for hour in plan.rebuilt_hours) for plan in plans] == [[3], [2], [9]]
    assert [held_hours(plan) for plan in plans] == [[9], [9], []]


def test_retries_read_what_the_pending_hours_leave_of_the_budget() -> None:
    table = table_with_held("1m", held_at(8, NOON), held_at(9, NOON))
    table.trades.commit([Slot(FIRST_HOUR + 2, 0)], 1, timedelta(0))
    end = NOON + 2 * HOUR
    pending, hour = HOUR_COST + 101, HOUR_COST + 100
    assert held_hours(table.plan(end, pending + hour - 1)) == [8, 9]
    assert held_hours(table.plan(end, pending + hour)) == [9]
    assert held_hours(table.plan(end, pending + 2 * hour)) == []


def test_a_requested_retry_does_not_wait_for_the_budget() -> None:
    table = table_with_held("1m", held_at(8, NOON), held_at(9, NOON))
    table.trades.commit([Slot(FIRST_HOUR + 2, 0)], 1, timedelta(0))
    table.decisions = Decisions(
        retries=tuple(Retry(each.exchange, each.symbol, each.hour, each.tried) for each in table.checkpoint.held)
    )
    assert len(held_hours(table.plan(NOON + 2 * HOUR, 1))) == 1


def test_the_series_that_waits_longest_is_retried_first_and_a_requested_one_before_it() -> None:
    tries = {2: NOON - HOUR, 9: NOON, 5: NOON - 2 * HOUR, 7: NOON}
    table = table_with_held("1m", *(held_at(hour, tried) for hour, tried in tries.items()))
    requested = held_at(7, NOON)
    table.decisions = Decisions(retries=(Retry(requested.exchange, requested.symbol, requested.hour, requested.tried),))
    # All fail again, so each run tries the next one.
    table.failing = {FIRST_HOUR + hour for hour in tries}
    end = NOON + 2 * HOUR
    tried = [table.run(end + number * MINUTE, 1).rebuilt_hours for number in range(4)]
    assert tried == [{FIRST_HOUR + hour} for hour in (7, 5, 2, 9)]
    assert len(table.checkpoint.held) == 4


def test_all_series_of_an_hour_are_retried_together() -> None:
    table = table_with_held("1m", held_at(5, NOON - HOUR), held_at(5, NOON, "ETH-USD"))
    assert held_hours(table.plan(NOON + 5 * MINUTE, 1)) == []


def test_an_hour_waits_as_long_as_its_first_series() -> None:
    others = [held_at(5, NOON, symbol) for symbol in "abcdefghijkl"]
    table = table_with_held("1m", held_at(5, NOON - 3 * HOUR), *others, held_at(9, NOON - 2 * HOUR))
    assert table.plan(NOON + HOUR, 1).rebuilt_hours == {FIRST_HOUR + 5}


def test_a_held_series_is_dropped_with_its_candles() -> None:
    table = table_with_held("1m", held_at(5, NOON))
    last = DAY_START + timedelta(days=90) + 23 * HOUR
    assert held_hours(table.plan(last - A_DAY, 1)) == []
    table.checkpoint = replace(table.checkpoint, held=frozenset({held_at(5, last - 30 * MINUTE)}))
    assert held_hours(table.plan(last, 1)) == [5]
    plan = table.plan(last + HOUR, 1)
    assert (held_hours(plan), plan.rebuilt_hours) == ([], set()), "retention would delete the candles again"
    backfill = table.backfill(Range(last + HOUR, last + 2 * HOUR))
    assert (held_hours(backfill), backfill.ranges) == ([], [Range(last + HOUR, last + 2 * HOUR)])


@pytest.mark.parametrize(("minutes", "released"), [(5, False), (9, False), (10, True), (60, True)])
def test_a_backfill_releases_a_held_series_if_it_builds_all_windows_that_were_tried(
    minutes: int, *, released: bool
) -> None:
    held = held_at(5, DAY_START + 5 * HOUR + 10 * MINUTE)
    table = table_with_held("1m", held)
    start = DAY_START + 5 * HOUR
    plan = table.backfill(Range(start + 2 * MINUTE, start + minutes * MINUTE))
    assert plan.ranges == [Range(start, start + minutes * MINUTE)]
    assert table.checkpoint.held == (set() if released else {held})


def test_a_cleared_run_does_not_release_windows_after_its_range() -> None:
    """A later run has tried them since."""
    table = table_with_held("1m", held_at(12, NOON + 10 * MINUTE))
    table.trades.commit([Slot(FIRST_HOUR + 12, 1)], 1, timedelta(0))
    assert held_hours(table.plan(NOON + 5 * MINUTE, 1)) == [12]
    assert held_hours(table.plan(NOON + 10 * MINUTE, 1)) == []


def test_a_backfill_of_other_hours_leaves_held_series() -> None:
    table = table_with_held("1m", held_at(5, NOON))
    plan = table.backfill(Range(DAY_START + 6 * HOUR, DAY_START + 7 * HOUR))
    assert (plan.ranges, held_hours(plan)) == ([plan.own_range], [5])


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_a_new_source_keeps_the_held_series_that_its_run_does_not_build(*, has_checkpoint: bool) -> None:
    held = held_at(5, NOON)
    table = table_with_held("1h", held, held_at(6, NOON))
    if not has_checkpoint:  # only backfills have built candles
        table.checkpoint = SourceCheckpoint(source=table.trades.source, held=table.checkpoint.held)
    table.trades = InMemoryTrades(source=SourceIdentity("another table"))
    table.trades.commit([Slot(FIRST_HOUR + 6, 0)], 1, timedelta(0))
    plan = plan_build(
        table.timeframe,
        Range(DAY_START + 6 * HOUR, DAY_START + 7 * HOUR),
        table.trades,
        table.checkpoint,
        rebuild_pending=False,
        trade_budget=1,
        new_source=True,
    )
    assert plan.checkpoint.held == {held}
