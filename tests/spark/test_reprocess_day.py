"""Reprocessing of a day: all timeframes from one read, one commit per changed table, and dry runs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.source_checkpoint import SourceIdentity
from ohlcv.model.source_hours import format_hours, hour_number
from spark_jobs.jobs.reprocess_day import read_request, reprocess
from support.harness import WIDTHS, Harness, at, trade

DAY = "2026-03-01"
ONLY_1H = ("--timeframes", "1h")
DAY_BEFORE = (at("2026-02-28 00:00"), at("2026-03-01 00:00"))
WHOLE_DAY = (at("2026-03-01 00:00"), at("2026-03-02 00:00"))


@pytest.fixture
def harness(spark: SparkSession, tmp_path: Path) -> Harness:
    harness = Harness(spark, tmp_path)
    harness.load(
        [
            trade(at("2026-02-28 23:59"), price="99"),
            trade(at("2026-03-01 00:00"), price="100"),
            trade(at("2026-03-01 09:31"), price="101", symbol="ETH-USD"),
            trade(at("2026-03-01 23:59"), price="102"),
            trade(at("2026-03-02 00:00"), price="103"),
        ]
    )
    return harness


def run(harness: Harness, *arguments: str, until: str = "2026-03-02T01:30:00Z") -> dict[str, Any]:
    request = read_request(harness.settings, ["--day", DAY, "--until", until, "--run-id", "r", *arguments])
    return reprocess(harness.spark, harness.settings, request)


def counts(report: dict[str, Any]) -> dict[str, dict[str, int]]:
    return {
        each["timeframe"]: {action: number for action, number in each["candles"].items() if number}
        for each in report["timeframes"]
    }


def test_a_day_is_rebuilt_in_every_timeframe_with_one_commit_each(harness: Harness) -> None:
    harness.build("1m", *DAY_BEFORE)
    before = harness.candles("1m")
    report = run(harness)
    assert [each["timeframe"] for each in report["timeframes"]] == list(WIDTHS)
    for name in WIDTHS:
        expected = harness.expected(name, WHOLE_DAY).candles
        assert harness.candles(name) == expected | (before if name == "1m" else {})
        assert len(harness.snapshots(name)) == (2 if name == "1m" else 1)
        assert harness.summary(name)["ohlcv.run-id"] == "r"
    assert {each["trades_read"] for each in report["timeframes"]} == {3}


def test_only_tables_that_changed_get_a_commit(harness: Harness) -> None:
    two = ("--timeframes", "5m,1d")
    run(harness, *two)
    # A second trade in the minute of the first: every timeframe's first candle changes.
    harness.load([trade(at("2026-03-01 00:00:30"), price="90")])
    harness.build("5m", *WHOLE_DAY)
    report = run(harness, *two)
    assert counts(report) == {"5m": {"unchanged": 3}, "1d": {"updated": 1, "unchanged": 1}}
    assert [each["timeframe"] for each in report["timeframes"] if each["snapshot"] is None] == ["5m"]
    for name in ("5m", "1d"):
        assert harness.candles(name) == harness.expected(name, WHOLE_DAY).candles
        assert len(harness.snapshots(name)) == 2
    assert all(each["snapshot"] is None for each in run(harness, *two)["timeframes"])


def test_versions_of_a_trade_count_once_in_every_timeframe(harness: Harness) -> None:
    first = trade(at("2026-03-01 09:31"), price="101", symbol="ETH-USD")
    harness.load(
        [
            trade(
                at("2026-03-01 09:31"), "77", symbol="ETH-USD", trade_id=first.trade_id, ingested=at("2026-03-03 00:00")
            )
        ]
    )
    run(harness, "--timeframes", "1m,1d")
    for name in ("1m", "1d"):
        assert harness.candles(name) == harness.expected(name, WHOLE_DAY).candles


def test_a_dry_run_writes_nothing_and_lists_the_largest_differences_first(
    harness: Harness, capsys: pytest.CaptureFixture[str]
) -> None:
    run(harness)
    # One candle would change a little and one much, two would be inserted and one deleted.
    harness.load(
        [
            trade(at("2026-03-01 00:00:30"), price="100", quantity="0.5"),
            trade(at("2026-03-01 09:31:30"), price="101", quantity="50", symbol="ETH-USD"),
            trade(at("2026-03-01 12:00"), price="100", quantity="2"),
        ]
    )
    harness.sql("DELETE FROM {trades} WHERE symbol = 'BTC-USD' AND exchange_hour = 23 AND exchange_date = '2026-03-01'")
    harness.load([trade(at("2026-03-01 23:10"), symbol="XRP-USD")])
    before = {name: harness.snapshots(name) for name in WIDTHS}
    capsys.readouterr()
    report = run(harness, "--dry-run", "yes", "--timeframes", "1h,1m")
    assert {name: harness.snapshots(name) for name in WIDTHS} == before
    assert counts(report) == {name: {"inserted": 2, "updated": 2, "deleted": 1} for name in ("1m", "1h")}
    listed = [(each["action"], each["symbol"], each["window_start"]) for each in report["timeframes"][0]["differences"]]
    assert listed == [
        ("updated", "ETH-USD", "2026-03-01T09:31:00Z"),
        ("inserted", "BTC-USD", "2026-03-01T12:00:00Z"),
        ("inserted", "XRP-USD", "2026-03-01T23:10:00Z"),
        ("deleted", "BTC-USD", "2026-03-01T23:59:00Z"),
        ("updated", "BTC-USD", "2026-03-01T00:00:00Z"),
    ]
    assert report["timeframes"][0]["differences"][0]["fields"] == {
        "volume": {"stored": "1.00000000", "rebuilt": "51.00000000"},
        "trade_count": {"stored": "1", "rebuilt": "2"},
    }
    log = capsys.readouterr().err
    assert "1m: would be 2 inserted, 2 updated, 1 deleted" in log
    assert "updated  ETH-USD kraken 2026-03-01T09:31:00Z: volume 1.00000000 -> 51.00000000" in log


def test_a_dry_run_lists_a_stored_candle_whose_values_are_0(harness: Harness) -> None:
    run(harness)
    table = "iceberg.market_data.gold_ohlcv_1m"
    harness.sql(f"UPDATE {table} SET volume = 0, trade_count = 0 WHERE window_start = '2026-03-01 00:00:00'")
    report = run(harness, "--dry-run", "yes", "--timeframes", "1m")
    (listed,) = report["timeframes"][0]["differences"]
    assert (listed["action"], listed["fields"]["volume"]["stored"]) == ("updated", "0.00000000")


def test_prune_deletes_candles_of_an_empty_hour(harness: Harness) -> None:
    run(harness, *ONLY_1H)
    harness.sql("DELETE FROM {trades} WHERE exchange_date = '2026-03-01' AND exchange_hour = 9")
    assert counts(run(harness, *ONLY_1H))["1h"] == {"unchanged": 2, "kept": 1}
    assert counts(run(harness, *ONLY_1H, "--prune", "yes"))["1h"] == {"unchanged": 2, "deleted": 1}


def test_only_windows_complete_at_the_due_time_are_rebuilt(harness: Harness) -> None:
    report = run(harness, until="2026-03-01T09:32:10Z")
    ranges = {each["timeframe"]: each["range"]["end"] for each in report["timeframes"]}
    assert ranges == {
        "1m": "2026-03-01T09:32:00Z",
        "5m": "2026-03-01T09:30:00Z",
        "30m": "2026-03-01T09:30:00Z",
        "1h": "2026-03-01T09:00:00Z",
    }
    assert report["notes"][0].startswith("1d is left out: no 1d window is complete")


def test_reprocessing_adds_only_its_changed_hours_to_the_checkpoint(harness: Harness) -> None:
    harness.build("1h", at("2026-03-01 22:00"), at("2026-03-02 00:00"), rebuild_pending=True)
    recorded = harness.checkpoint("1h")
    harness.load([trade(at("2026-03-01 05:00"))])
    run(harness, "--timeframes", "1h")
    assert harness.candles("1h") == harness.expected("1h", WHOLE_DAY).candles
    # These may change back before the next scheduled run, which builds them again.
    assert harness.checkpoint("1h") == replace(recorded, hours_ahead=frozenset({hour_number(at("2026-03-01 05:00"))}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--day", "yesterday", "--until", "2026-03-02"], "'yesterday' is not an ISO date"),
        (["--day", DAY, "--until", "soon"], "'soon' is not an ISO time"),
        (["--day", DAY, "--until", "2026-03-02", "--timeframes", "1m,7m"], "unknown timeframe '7m'"),
        (["--day", DAY, "--until", "2026-03-01T00:00:30Z"], "nothing to rebuild: no window of 2026-03-01"),
    ],
)
def test_an_invalid_request_is_rejected(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_request(load_settings({}), arguments)


def test_timeframes_are_built_in_the_order_of_the_registry() -> None:
    request = read_request(load_settings({}), ["--day", DAY, "--until", "2026-03-02", "--timeframes", "1d,1m"])
    assert ([each.name for each in request.ranges], request.day) == (["1m", "1d"], date(2026, 3, 1))
    assert request.ranges[next(iter(request.ranges))].start == datetime(2026, 3, 1, tzinfo=UTC)


def test_a_replaced_trades_table_stops_every_run_until_reprocessing_accepts_it(harness: Harness) -> None:
    scheduled = (at("2026-03-01 22:00"), at("2026-03-02 00:00"))
    harness.build("1h", *scheduled, rebuild_pending=True)
    run(harness, *ONLY_1H)
    folder = harness.table().location().removeprefix("file://")
    harness.sql("DROP TABLE {trades} PURGE")
    shutil.rmtree(folder)
    create_tables(harness.settings)
    harness.trades.clear()
    harness.load([trade(at(f"2026-03-01 {hour:02}:30"), price="200") for hour in (1, 9, 22)])
    stored = harness.stored("1h")
    for rebuild_pending in (True, False):
        with pytest.raises(OhlcvError, match=r"^the 1h candles were built from another trades table .* new_source or"):
            harness.build("1h", *scheduled, rebuild_pending=rebuild_pending)
    with pytest.raises(OhlcvError, match="built from another trades table"):
        run(harness, *ONLY_1H)
    assert harness.stored("1h") == stored

    harness.build("1h", *scheduled, new_source=True)
    checkpoint = harness.checkpoint("1h")
    assert checkpoint.source == SourceIdentity(str(harness.table().metadata.table_uuid))
    assert format_hours(checkpoint.pending_hours) == "2026-03-01T01,2026-03-01T09"
    report = harness.build("1h", *scheduled, rebuild_pending=True)
    assert report["repaired_hours"] == "2026-03-01T01,2026-03-01T09"
    expected = harness.expected("1h", WHOLE_DAY).candles
    assert {key: candle for key, candle in harness.candles("1h").items() if key in expected} == expected
    # Without another change, reprocessing needs no option.
    run(harness, *ONLY_1H)
