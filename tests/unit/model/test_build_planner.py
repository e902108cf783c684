"""Rules of the build planner, by example: budget, order, own range, checkpoint and notes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from ohlcv.model.build_planner import HOUR_COST, BuildPlan, plan_build
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import HOUR, Range, scheduled_range
from ohlcv.model.source_checkpoint import SourceCheckpoint, SourceIdentity
from ohlcv.model.timeframes import TIMEFRAMES
from support.planner_simulation import (
    DAY_START,
    FIRST_HOUR,
    MINUTE,
    InMemoryTrades,
    SimulatedCandleTable,
    Slot,
    table_with_changed_hours,
)


def rebuilt_hours(plan: BuildPlan) -> list[int]:
    """Return the rebuilt hours, counted from the start of the first day."""
    return sorted(hour - FIRST_HOUR for hour in plan.rebuilt_hours)


def plan_with_new_source(table: SimulatedCandleTable, own_range: Range) -> BuildPlan:
    return plan_build(
        table.timeframe,
        own_range,
        table.trades,
        table.checkpoint,
        rebuild_pending=False,
        trade_budget=1,
        new_source=True,
    )


def test_after_an_outage_the_newest_hours_are_rebuilt_first_within_the_budget() -> None:
    table = table_with_changed_hours("1m", range(1, 9))
    end = DAY_START + 12 * HOUR
    two_hours = 2 * (HOUR_COST + 100)
    assert [rebuilt_hours(table.run(end, two_hours)) for _ in range(4)] == [[7, 8], [5, 6], [3, 4], [1, 2]]
    assert table.stale_windows() == []


def test_an_hour_larger_than_the_budget_is_rebuilt_alone() -> None:
    table = table_with_changed_hours("1m", [3, 4, 5], trades=10_000_000)
    assert [rebuilt_hours(table.run(DAY_START + 12 * HOUR, 1)) for _ in range(3)] == [[5], [4], [3]]


def test_small_older_hours_do_not_overtake_a_large_hour() -> None:
    table = table_with_changed_hours("1m", [8, 2, 1])
    table.trades.commit([Slot(FIRST_HOUR + 5, 0)], 10_000_000, timedelta(0))
    end = DAY_START + 12 * HOUR
    assert [rebuilt_hours(table.run(end, 20_000)) for _ in range(3)] == [[8], [5], [1, 2]]


def test_unchanged_hours_of_the_own_range_are_not_read_again() -> None:
    table = table_with_changed_hours("1h", [1, 2, 3])
    assert table.run(DAY_START + 3 * HOUR, 10**9).unchanged_hours == set()
    # One hour later the lookback contains hour 2, which is unchanged, and hour 3, which is new.
    plan = table.run(DAY_START + 4 * HOUR, 10**9)
    assert plan.ranges == [Range(DAY_START + 3 * HOUR, DAY_START + 4 * HOUR)]
    assert plan.unchanged_hours == {FIRST_HOUR + 2}
    # After a late trade hour 2 is read again.
    table.trades.commit([Slot(FIRST_HOUR + 2, 7)], 1, timedelta(0))
    assert table.run(DAY_START + 4 * HOUR, 10**9).ranges == [Range(DAY_START + 2 * HOUR, DAY_START + 3 * HOUR)]
    # Without any change nothing is read.
    plan = table.run(DAY_START + 4 * HOUR, 10**9)
    assert (plan.ranges, plan.hours, plan.unchanged_hours) == ([], set(), {FIRST_HOUR + 2, FIRST_HOUR + 3})
    # A run that prunes reads the whole own range, because it looks for hours without trades.
    own_range = scheduled_range(table.timeframe, DAY_START + 4 * HOUR)
    pruning = plan_build(
        table.timeframe, own_range, table.trades, table.checkpoint, rebuild_pending=True, trade_budget=1, prune=True
    )
    assert pruning.ranges == [own_range]


def test_hours_before_the_first_run_count_as_never_built() -> None:
    table = table_with_changed_hours("1h", [1, 2, 3, 4, 5, 6])
    table.checkpoint = SourceCheckpoint()
    table.run(DAY_START + 5 * HOUR, 10**9)
    assert table.checkpoint.built_since == FIRST_HOUR + 3
    # With a longer lookback the run also builds the hour that it now reaches, although it did not change.
    table.timeframe = replace(table.timeframe, lookback=4 * HOUR)
    plan = table.run(DAY_START + 6 * HOUR, 10**9)
    assert plan.ranges == [
        Range(DAY_START + 2 * HOUR, DAY_START + 3 * HOUR),
        Range(DAY_START + 5 * HOUR, DAY_START + 6 * HOUR),
    ]
    assert table.checkpoint.built_since == FIRST_HOUR + 2


def test_a_range_that_ends_before_the_built_hours_does_not_extend_them() -> None:
    table = table_with_changed_hours("1h", [1, 2, 3, 4, 5, 6, 7])
    table.checkpoint = SourceCheckpoint()
    table.run(DAY_START + 8 * HOUR, 10**9)
    table.run(DAY_START + 3 * HOUR, 10**9)
    assert table.checkpoint.built_since == FIRST_HOUR + 6


def test_the_hours_of_a_day_are_rebuilt_together() -> None:
    table = table_with_changed_hours("1d", [3, 4, 20])
    plan = table.run(DAY_START + timedelta(days=4), 1)
    assert rebuilt_hours(plan) == [0, 3, 4, 20]
    assert plan.ranges == [Range(DAY_START, DAY_START + timedelta(days=1))]


def test_a_day_within_the_lookback_needs_no_budget() -> None:
    table = table_with_changed_hours("1d", [3, 4, 20])
    plan = table.run(DAY_START + timedelta(days=1), 1)
    assert (plan.rebuilt_hours, plan.ranges) == (set(), [Range(DAY_START, DAY_START + timedelta(days=1))])
    assert plan.checkpoint.pending_hours == frozenset()


def test_only_complete_windows_are_built_and_the_other_hours_stay_pending() -> None:
    table = table_with_changed_hours("5m", [1, 3])
    plan = table.run(DAY_START + HOUR + 32 * MINUTE, 10**9)
    assert plan.ranges == [Range(DAY_START + HOUR, DAY_START + HOUR + 30 * MINUTE)]
    assert plan.checkpoint.pending_hours == {FIRST_HOUR + 1, FIRST_HOUR + 3}


def test_notes_report_a_missing_checkpoint_deferred_hours_and_an_expired_snapshot() -> None:
    table = SimulatedCandleTable(TIMEFRAMES["1m"])
    table.trades.commit([Slot(FIRST_HOUR, 0)], 1, timedelta(0))
    assert table.run(DAY_START + HOUR, 1).notes == [
        "no source checkpoint is recorded yet: only the run's own range is built, backfill older candles"
    ]
    table.trades.commit([Slot(FIRST_HOUR + hour, 0) for hour in range(4)], 1, timedelta(0))
    assert table.run(DAY_START + 9 * HOUR, 1).notes == ["3 changed hours are left to the next runs"]
    table.trades.commit([Slot(FIRST_HOUR, 0)], 1, timedelta(0))
    table.trades.expired_before = 3
    notes = table.run(DAY_START + 9 * HOUR, 10**9).notes
    assert len(notes) == 1
    assert notes[0].startswith("the recorded trades snapshot 2 has expired")
    assert table.stale_windows() == []


def test_without_any_trades_snapshot_the_checkpoint_does_not_change() -> None:
    table = SimulatedCandleTable(TIMEFRAMES["1h"])
    plan = table.run(DAY_START + 9 * HOUR, 1)
    assert (plan.ranges, plan.checkpoint, plan.notes) == (
        [plan.own_range],
        SourceCheckpoint(source=table.trades.source),
        [],
    )


@pytest.mark.parametrize("delay", [timedelta(0), timedelta(minutes=59)])
def test_hours_changed_since_an_expired_snapshot_are_found_by_ingestion_time(delay: timedelta) -> None:
    table = SimulatedCandleTable(TIMEFRAMES["1m"])
    table.trades.commit([Slot(FIRST_HOUR, 0)], 1, timedelta(0))
    table.run(DAY_START + HOUR, 1)
    table.trades.commit([Slot(FIRST_HOUR + 1, 0)], 1, delay)
    table.trades.expired_before = 2
    assert FIRST_HOUR + 1 in table.run(DAY_START + 9 * HOUR, 10**9).rebuilt_hours


def test_without_an_ingestion_time_an_expired_snapshot_makes_all_retained_hours_pending() -> None:
    table = SimulatedCandleTable(TIMEFRAMES["1m"])
    table.trades.has_ingestion_time = False
    expired = FIRST_HOUR - 91 * 24
    table.trades.commit([Slot(hour, 0) for hour in (expired, FIRST_HOUR - 48, FIRST_HOUR)], 1, timedelta(0))
    table.run(DAY_START + HOUR, 1)
    table.trades.commit([Slot(FIRST_HOUR + 1, 0)], 1, timedelta(0))
    table.trades.expired_before = 2
    plan = table.run(DAY_START + 9 * HOUR, 10**9)
    assert plan.rebuilt_hours == {FIRST_HOUR - 48, FIRST_HOUR, FIRST_HOUR + 1}
    assert plan.notes == [
        "the recorded trades snapshot 1 has expired: all retained hours are built again, because the trades have no "
        "ingestion time, so trades deleted since then are not detected"
    ]


def test_a_run_records_what_it_read_from() -> None:
    table = table_with_changed_hours("1m", [1])
    # Checkpoints of older versions do not contain it and are accepted.
    table.checkpoint = replace(table.checkpoint, source=None)
    table.run(DAY_START + 9 * HOUR, 10**9)
    assert table.checkpoint.source == table.trades.source


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        (
            SourceIdentity("another table"),
            "from another trades table (its UUID was the first table, now it is another table): restore it",
        ),
        (SourceIdentity("the first table", "b"), "with another mapping of the trades table: restore it"),
    ],
)
@pytest.mark.parametrize("rebuild_pending", [True, False])
def test_a_run_stops_after_the_source_changed(changed: SourceIdentity, found: str, *, rebuild_pending: bool) -> None:
    table = table_with_changed_hours("1m", [1])
    table.run(DAY_START + 9 * HOUR, 10**9)
    table.trades.source = changed
    own_range = scheduled_range(table.timeframe, DAY_START + 10 * HOUR)
    with pytest.raises(OhlcvError) as caught:
        plan_build(
            table.timeframe, own_range, table.trades, table.checkpoint, rebuild_pending=rebuild_pending, trade_budget=1
        )
    assert str(caught.value).startswith(f"the 1m candles were built {found}, or rebuild the candles by 'airflow dags")


def test_reprocessing_accepts_a_new_source_and_makes_its_other_hours_pending() -> None:
    table = table_with_changed_hours("1h", [1, 2, 3])
    # An hour whose candles have expired is not pending: retention would delete them again.
    expired = FIRST_HOUR - 5 * 366 * 24
    table.run(DAY_START + 9 * HOUR, 10**9)
    table.trades = InMemoryTrades(source=SourceIdentity("another table"))
    table.trades.commit([Slot(hour, 0) for hour in (expired, *range(FIRST_HOUR, FIRST_HOUR + 12))], 1, timedelta(0))
    own_range = Range(DAY_START + 2 * HOUR, DAY_START + 4 * HOUR)
    plan = plan_with_new_source(table, own_range)
    assert plan.ranges == [own_range]
    assert plan.checkpoint.trades_snapshot == table.trades.snapshot
    assert plan.checkpoint.source == table.trades.source
    assert plan.checkpoint.pending_hours == {FIRST_HOUR + hour for hour in range(12)} - {FIRST_HOUR + 2, FIRST_HOUR + 3}
    table.checkpoint = plan.checkpoint
    # Without another change, a further run with the option keeps the pending hours.
    again = plan_with_new_source(table, own_range)
    assert again.checkpoint == plan.checkpoint
    assert rebuilt_hours(table.plan(DAY_START + 12 * HOUR, 10**9)) == [0, 1, *range(4, 10)]


def test_a_table_without_checkpoint_accepts_a_new_source_without_pending_hours() -> None:
    table = table_with_changed_hours("1h", [1])
    table.checkpoint = SourceCheckpoint(source=SourceIdentity("another table"))
    plan = plan_with_new_source(table, Range(DAY_START, DAY_START + HOUR))
    assert plan.checkpoint == SourceCheckpoint(source=table.trades.source)


def test_the_stored_names_of_a_checkpoint_do_not_change() -> None:
    """Existing tables contain this JSON."""
    checkpoint = SourceCheckpoint(7, 1_780_000_000_000, frozenset({FIRST_HOUR, FIRST_HOUR + 1}), FIRST_HOUR)
    assert json.loads(checkpoint.to_text()) == {
        "snapshot": 7,
        "at": 1_780_000_000_000,
        "owed": "2026-03-01T00..2026-03-01T01",
        "since": FIRST_HOUR,
    }
    recorded = replace(checkpoint, source=SourceIdentity("a UUID", "a fingerprint"))
    assert json.loads(recorded.to_text()) == {
        **json.loads(checkpoint.to_text()),
        "table": "a UUID",
        "mapping": "a fingerprint",
    }


def test_hours_that_a_backfill_built_from_newer_trades_count_as_changed() -> None:
    table = table_with_changed_hours("1m", [3, 5])
    end = DAY_START + 12 * HOUR
    table.run(end, 1_000_000)
    assert table.checkpoint.hours_ahead == frozenset()
    table.trades.commit([Slot(FIRST_HOUR + 3, 0), Slot(FIRST_HOUR + 5, 0)], 1, timedelta(0))
    table.backfill(Range(DAY_START + 5 * HOUR, DAY_START + 6 * HOUR))
    assert table.checkpoint.hours_ahead == {FIRST_HOUR + 5}
    # The trades are those of the checkpoint again.
    table.trades.commits.pop()
    assert rebuilt_hours(table.plan(end, 1_000_000)) == [5]


def test_a_backfill_whose_checkpoint_has_expired_knows_no_hours_ahead() -> None:
    table = table_with_changed_hours("1m", [3])
    table.run(DAY_START + 12 * HOUR, 1_000_000)
    table.trades.commit([Slot(FIRST_HOUR + 3, 0)], 1, timedelta(0))
    table.trades.expired_before = 3
    table.backfill(Range(DAY_START + 3 * HOUR, DAY_START + 4 * HOUR))
    assert table.checkpoint.hours_ahead == frozenset()
