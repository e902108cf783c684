"""Shared parts of the benchmarks: interleaving, medians, limits, comparison of results, and generated tables."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks.bench_catalog import BenchCatalog, generated_candles, with_series
from benchmarks.harness import Cost, ResultsDifferError, Section, Verdict, measure_interleaved, median, require_equal
from benchmarks.hours import spread_evenly
from benchmarks.small_runs import runs_a_day, schedule
from benchmarks.warm import OtherEngineError, require_engine
from ohlcv.ingest.sample_data import Feed
from ohlcv.model.intervals import EPOCH, Range
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES

pytestmark = pytest.mark.benchmarks


def test_kinds_are_interleaved_and_every_second_round_is_reversed() -> None:
    order: list[str] = []

    def kind(name: str, wall: float) -> Cost:
        order.append(name)
        return Cost(wall, 2 * wall)

    found = measure_interleaved({"a": lambda: kind("a", 1), "b": lambda: kind("b", 2)}, 3)

    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [Cost(1, 2)] * 3, "b": [Cost(2, 4)] * 3}


def test_the_median_is_computed_for_each_figure() -> None:
    assert median([Cost(1, 30), Cost(9, 10), Cost(2, 20)]) == Cost(2, 20)


@pytest.mark.parametrize(
    ("figure", "at_least", "reached"),
    [(1.0, False, True), (1.01, False, False), (1.0, True, True), (0.99, True, False)],
)
def test_a_limit_is_a_maximum_or_a_minimum(figure: float, at_least: bool, reached: bool) -> None:
    verdict = Verdict("growth", figure, 1.0, at_least=at_least)

    assert verdict.reached is reached
    assert str(verdict).startswith("reached" if reached else "NOT REACHED")


def test_different_results_are_an_error() -> None:
    require_equal("candles", [1], [1])
    with pytest.raises(ResultsDifferError, match="the results differ"):
        require_equal("candles", [1], [2])


def test_the_json_of_a_section_includes_its_verdicts() -> None:
    section = Section("growth", verdicts=[Verdict("400 days", 1.2, 1.15)])
    section.add_measurements("1m", {"400 days": [Cost(1, 2)]})

    found = json.loads(json.dumps(section.to_json()))

    assert found["verdicts"][0]["reached"] is False
    assert found["measured"] == {"1m 400 days": [{"wall": 1.0, "processor": 2.0}]}


def test_a_day_has_457_runs_and_its_cost_is_their_sum() -> None:
    assert [runs_a_day(timeframe) for timeframe in DEFAULT_TIMEFRAMES.values()] == [288, 96, 48, 24, 1]

    rows = schedule(
        dict.fromkeys(DEFAULT_TIMEFRAMES, Cost(20, 30)), dict.fromkeys(DEFAULT_TIMEFRAMES, Cost(10, 8))
    ).rows

    assert list(rows[-1]) == ["all", 457, 457 * 30, 457 * 8, 457 * 20, 457 * 10]


def test_lengthen_history_adds_snapshots_and_keeps_the_rows(tmp_path: Path) -> None:
    catalog = BenchCatalog(tmp_path / "home")
    feed = Feed(EPOCH)
    hour = timedelta(hours=1)
    catalog.append(feed.batch(EPOCH + hour, 100))
    newest = catalog.append(feed.batch(EPOCH + 2 * hour, 50))

    catalog.lengthen_history(None, 40)

    table = catalog.table()
    parents = {snapshot.snapshot_id: snapshot.parent_snapshot_id for snapshot in table.snapshots()}
    ancestors = [newest]
    while (parent := parents[ancestors[-1]]) is not None:
        ancestors.append(parent)
    assert len(ancestors) == len(parents) == 40
    assert table.scan().count() == 150
    assert table.scan(snapshot_id=ancestors[-1]).count() == 100


def test_restore_state_restores_the_tables(tmp_path: Path) -> None:
    catalog = BenchCatalog(tmp_path / "home")
    feed = Feed(EPOCH)
    catalog.append(feed.batch(EPOCH + timedelta(hours=1), 100))
    before = catalog.save_state()
    catalog.append(feed.batch(EPOCH + timedelta(hours=2), 100))

    catalog.restore_state(before)

    assert catalog.table().scan().count() == 100


def test_with_series_copies_trades_and_generated_candles_cover_every_window(tmp_path: Path) -> None:
    catalog = BenchCatalog(tmp_path / "home")
    timeframe = catalog.timeframe("1m")
    trades = with_series(Feed(EPOCH).batch(EPOCH + timedelta(minutes=5), 80), 24)

    candles = generated_candles(catalog.table("1m"), Range(EPOCH, EPOCH + timedelta(hours=1)), timeframe, trades)

    assert trades.num_rows == 240
    assert len(set(zip(trades["symbol"].to_pylist(), trades["exchange"].to_pylist(), strict=True))) == 24
    assert len(set(trades["message_id"].to_pylist())) == 240
    assert (
        candles.num_rows == candles.group_by(["symbol", "exchange", "window_start"]).aggregate([]).num_rows == 24 * 60
    )


def test_a_run_on_another_engine_is_an_error() -> None:
    require_engine("native", {"execution": {"requested": "native", "engine": "native"}})
    report = {"execution": {"requested": "native", "engine": "jvm", "reason": "native execution failed: lost"}}

    with pytest.raises(OtherEngineError, match="was not native but jvm: native execution failed: lost"):
        require_engine("native", report)


def test_spread_evenly_gives_each_series_as_many_trades_with_ids_from_1() -> None:
    trades = spread_evenly(Feed(EPOCH).batch(EPOCH + timedelta(minutes=5), 80), 20)

    found = set(zip(trades["symbol"].to_pylist(), trades["trade_id"].to_pylist(), strict=True))
    assert found == {(f"S{number:05}-USD", str(trade)) for number in range(20) for trade in (1, 2, 3, 4)}
