"""Builds of a range by the real job on real tables: what a rebuild may and may not change."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from ohlcv.iceberg.tables import widen_volume
from ohlcv.model.errors import OhlcvError
from support.default_tables import candles_contract
from support.harness import Harness, at, total_changes, trade
from support.lanes import spark_cases
from support.reference_model import Trade

NOON = at("2026-03-01 12:00")
ONE = at("2026-03-01 13:00")
TWO = at("2026-03-01 14:00")


def some_trades(
    start: str = "2026-03-01 12:00", minutes: int = 60, step: int = 7, symbol: str = "BTC-USD"
) -> list[Trade]:
    """Return a trade every few seconds, with different prices and quantities so that errors become visible."""
    begin = at(start)
    return [
        trade(
            begin + timedelta(seconds=second),
            f"{100 + second % 13}.{second % 7}",
            f"0.{second % 97 + 1}",
            symbol=symbol,
        )
        for second in range(0, minutes * 60, step)
    ]


@pytest.mark.parametrize("timeframe", spark_cases({name: name for name in ("1m", "5m", "30m", "1h")}, "1m", "1h"))
def test_a_build_equals_the_reference_model_and_reports_its_counts(harness: Harness, timeframe: str) -> None:
    bad = replace(trade(NOON, trade_id="bad"), price=None)
    harness.load(some_trades(), [*some_trades(symbol="ETH-USD", step=31), bad])
    report = harness.build(timeframe, NOON, ONE)
    expected = harness.expected(timeframe, (NOON, ONE))
    assert harness.candles(timeframe) == expected.candles
    assert report["candles"]["inserted"] == len(expected.candles)
    assert (report["trades_read"], report["rejected"]) == (expected.trades_read, {"bad_price": 1})
    assert report["snapshot"] == harness.snapshots(timeframe)[-1]
    assert set(report["seconds"]) == {*("lease", "plan", "survey", "compute", "write", "audit", "publish", "total")}


def test_the_commit_summary_records_the_provenance(harness: Harness) -> None:
    harness.load(some_trades())
    harness.build("1m", NOON, ONE, dag_id="ohlcv_1m", run_id="scheduled__x")
    summary = harness.summary("1m")
    del summary["ohlcv.attempt"], summary["ohlcv.progress"]
    assert summary == {
        "ohlcv.timeframe": "1m",
        "ohlcv.dag-id": "ohlcv_1m",
        "ohlcv.run-id": "scheduled__x",
        "ohlcv.range-start": "2026-03-01T12:00:00Z",
        "ohlcv.range-end": "2026-03-01T13:00:00Z",
        "ohlcv.repaired-hours": "",
        "ohlcv.trades-snapshot": str(harness.snapshots()[-1]),
        "ohlcv.trades-read": str(len(harness.trades)),
        "ohlcv.trades-rejected": "{}",
        "ohlcv.candles-inserted": "60",
        "ohlcv.candles-updated": "0",
        "ohlcv.candles-deleted": "0",
        "ohlcv.candles-filled": "0",
        "ohlcv.candles-withheld": "0",
        "ohlcv.execution": harness.settings.tuning["1m"].execution,
        "ohlcv.audit": "candidate",
        "ohlcv.audit-warnings": "[]",
    }


@pytest.mark.parametrize("timeframe", ["1m", "1h"])
def test_a_rerun_commits_nothing(harness: Harness, timeframe: str) -> None:
    harness.load(some_trades())
    harness.build(timeframe, NOON, ONE)
    metadata = harness.table(timeframe).metadata_location
    report = harness.build(timeframe, NOON, ONE)
    assert report["snapshot"] is None
    assert total_changes(report["candles"]) == 0
    assert harness.table(timeframe).metadata_location == metadata


def test_a_commit_that_the_catalog_does_not_show_is_an_error(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another commit may have replaced it. Only a rerun shows whether candles are missing."""
    harness = Harness(spark, tmp_path / "home", {"OHLCV_AUDIT": "after"})
    harness.load(some_trades())
    with monkeypatch.context() as patch:
        patch.setattr("spark_jobs.iceberg.candle_writer._find_commit", lambda *_: None)
        with pytest.raises(OhlcvError, match="not among the newest snapshots: run again"):
            harness.build("1m", NOON, ONE)
    harness.build("1m", NOON, ONE)
    assert harness.candles("1m") == harness.expected("1m", (NOON, ONE)).candles


def test_a_range_without_trades_succeeds_with_a_note(harness: Harness) -> None:
    report = harness.build("1m", NOON, ONE)
    assert report["notes"] == ["there are no trades in the range"]
    assert harness.snapshots("1m") == []
    harness.load(some_trades())
    report = harness.build("1m", TWO, at("2026-03-01 15:00"))
    assert report["notes"] == ["there are no trades in the range"]
    assert report["snapshot"] is None


def test_overlapping_ranges_count_no_trade_twice(harness: Harness) -> None:
    harness.load(some_trades(minutes=90))
    for minutes in (10, 75):
        end = NOON + timedelta(minutes=minutes)
        harness.build("1m", end - timedelta(minutes=10), end)
        harness.build("1m", NOON, end)
    assert harness.candles("1m") == harness.expected("1m", (NOON, NOON + timedelta(minutes=75))).candles


def test_duplicates_count_once_and_corrections_replace_trades(harness: Harness) -> None:
    trades = some_trades()
    again = [replace(each, message_id=f"again-{each.trade_id}") for each in trades[::3]]
    harness.load(trades, again)
    harness.build("1m", NOON, ONE)
    assert harness.candles("1m") == harness.expected("1m", (NOON, ONE)).candles
    assert sum(candle.trade_count for candle in harness.candles("1m").values()) == len(trades)

    late = [
        replace(
            each,
            price=Decimal(999),
            timestamp=(each.timestamp or 0) + 180_000_000,
            ingestion_timestamp=2**60,
            message_id=f"c{n}",
        )
        for n, each in enumerate(trades[:200:50])
    ]
    harness.load(late)
    report = harness.build("1m", NOON, ONE)
    assert report["candles"]["updated"] > 0
    assert harness.candles("1m") == harness.expected("1m", (NOON, ONE)).candles


def test_a_rebuild_preserves_the_other_candles_of_the_partition(harness: Harness) -> None:
    harness.load(some_trades("2026-03-01 00:00", minutes=600, step=60))
    harness.build("30m", at("2026-03-01 00:00"), at("2026-03-01 10:00"))
    before = harness.stored("30m")
    harness.load([trade(at("2026-03-01 04:10"), "777")])
    report = harness.build("30m", at("2026-03-01 04:00"), at("2026-03-01 05:00"))
    assert report["candles"] == {
        "inserted": 0,
        "updated": 1,
        "deleted": 0,
        "filled": 0,
        "unchanged": 1,
        "kept": 0,
        "withheld": 0,
    }
    after = harness.stored("30m")
    assert {key: after[key] for key in after if after[key] != before[key]}.keys() == {
        ("BTC-USD", "kraken", 1772337600000000)
    }
    assert len(after) == 20


def test_created_at_never_changes_and_updated_at_only_with_a_value(harness: Harness) -> None:
    harness.load(some_trades(minutes=3))
    harness.build("1m", NOON, ONE)
    first = harness.stored("1m")
    assert all(stored.created_at == stored.updated_at for stored in first.values())
    harness.load([trade(NOON + timedelta(seconds=61), "500")])
    harness.build("1m", NOON, ONE)
    second = harness.stored("1m")
    changed = ("BTC-USD", "kraken", int((NOON + timedelta(minutes=1)).timestamp()) * 10**6)
    for key, stored in second.items():
        assert stored.created_at == first[key].created_at
        assert (stored.updated_at > first[key].updated_at) == (key == changed)


def test_a_build_across_midnight_and_the_end_of_a_month(harness: Harness) -> None:
    start, end = at("2026-01-31 00:00"), at("2026-02-02 00:00")
    midnight = at("2026-02-01 00:00")
    microsecond = timedelta(microseconds=1)
    harness.load(
        some_trades("2026-01-31 22:00", minutes=240, step=61),
        [trade(midnight - microsecond, "1", trade_id="a"), trade(midnight, "2", trade_id="b")],
    )
    harness.build("1d", start, end)
    assert harness.candles("1d") == harness.expected("1d", (start, end)).candles
    assert [candle.close for candle in harness.candles("1d").values()][:1] != []
    partitions = harness.table("1d").inspect.partitions().to_pylist()
    assert len(partitions) == 2

    # Rebuilding one month does not rewrite the file of the other.
    files = {task.file.file_path for task in harness.table("1d").scan().plan_files()}
    harness.load([trade(midnight + timedelta(hours=3), "3")])
    harness.build("1d", midnight, end)
    assert len(files & {task.file.file_path for task in harness.table("1d").scan().plan_files()}) == 1
    assert harness.candles("1d") == harness.expected("1d", (start, end)).candles


def test_a_candle_without_trades_is_deleted(harness: Harness) -> None:
    harness.load(some_trades(minutes=30))
    harness.build("1m", NOON, ONE)
    gone = NOON + timedelta(minutes=10)
    bound = int(gone.timestamp()) * 10**6
    harness.sql(f"DELETE FROM {{trades}} WHERE timestamp >= {bound} AND timestamp < {bound + 60_000_000}")
    report = harness.build("1m", NOON, ONE)
    assert report["candles"]["deleted"] == 1
    assert ("BTC-USD", "kraken", bound) not in harness.candles("1m")
    assert len(harness.candles("1m")) == 29


def test_candles_of_expired_source_hours_are_preserved_unless_pruned(harness: Harness) -> None:
    harness.load(some_trades(minutes=120))
    harness.build("1m", NOON, TWO)
    before = harness.stored("1m")
    harness.sql("DELETE FROM {trades} WHERE exchange_date = DATE '2026-03-01' AND exchange_hour = 12")
    report = harness.build("1m", NOON, TWO)
    assert report["candles"]["kept"] == 60
    assert report["snapshot"] is None
    assert harness.stored("1m") == before
    report = harness.build("1m", NOON, TWO, prune=True)
    assert report["candles"]["deleted"] == 60
    assert len(harness.candles("1m")) == 60


def test_an_hour_that_has_only_rejected_trades_is_not_empty(harness: Harness) -> None:
    """Its candles are deleted. Those of an hour without any row are preserved."""
    end = NOON + timedelta(hours=4)
    harness.load(some_trades(minutes=240, step=600))
    harness.build("1h", NOON, end)
    harness.sql("DELETE FROM {trades}")
    harness.load(
        [
            replace(trade(NOON), price=None),
            replace(trade(ONE), symbol=None),
            trade(NOON, partition=TWO),
        ]
    )
    report = harness.build("1h", NOON, end)
    assert report["rejected"] == {"bad_price": 1, "null_key": 1, "wrong_partition": 1}
    assert (report["candles"]["deleted"], report["candles"]["kept"]) == (3, 1)
    assert [key[2] for key in harness.candles("1h")] == [int(TWO.timestamp()) * 10**6 + 3_600_000_000]


def test_a_day_candle_is_preserved_when_its_first_hours_expire(harness: Harness) -> None:
    day, end = at("2026-03-01 00:00"), at("2026-03-02 00:00")
    harness.load(some_trades("2026-03-01 10:00", minutes=240, step=30))
    harness.build("1d", day, end)
    before = harness.stored("1d")
    harness.sql("DELETE FROM {trades} WHERE exchange_date = DATE '2026-03-01' AND exchange_hour < 12")
    report = harness.build("1d", day, end)
    assert report["candles"]["kept"] == 1
    assert harness.stored("1d") == before


def test_a_volume_that_does_not_fit_is_withheld_and_built_after_widening(harness: Harness) -> None:
    day, end = at("2026-03-01 00:00"), at("2026-03-02 00:00")
    harness.load(
        [trade(NOON + timedelta(minutes=n), "0.00000123", "6000000000.5", symbol="PEPE-USD") for n in range(3)],
        some_trades(),
    )
    report = harness.build("1d", day, end)
    assert report["candles"]["inserted"] == 1
    assert report["withheld"] == [
        {
            "symbol": "PEPE-USD",
            "exchange": "kraken",
            "window_start": "2026-03-01T00:00:00Z",
            "volume": "18000000001.50000000",
            "reason": "volume",
        }
    ]
    assert harness.candles("1d") == harness.expected("1d", (day, end)).candles
    widen_volume(harness.settings, candles_contract(harness.settings.timeframe("1d")))
    report = harness.build("1d", day, end)
    assert report["candles"] == {
        "inserted": 1,
        "updated": 0,
        "deleted": 0,
        "filled": 0,
        "unchanged": 1,
        "kept": 0,
        "withheld": 0,
    }
    assert harness.candles("1d") == harness.expected("1d", (day, end), wide=True).candles


def test_a_stored_candle_is_deleted_when_its_volume_no_longer_fits(harness: Harness) -> None:
    harness.load([trade(NOON, "1", "9000000000"), *some_trades(symbol="ETH-USD")])
    harness.build("1h", NOON, ONE)
    harness.load([trade(NOON + timedelta(minutes=1), "1", "9000000000")])
    report = harness.build("1h", NOON, ONE)
    assert (report["candles"]["withheld"], report["candles"]["deleted"]) == (1, 1)
    assert [key[0] for key in harness.candles("1h")] == ["ETH-USD"]


def test_a_duplicate_key_is_merged(harness: Harness) -> None:
    harness.load(some_trades(minutes=5))
    harness.build("1m", NOON, ONE)
    table = "iceberg.market_data.gold_ohlcv_1m"
    harness.sql(f"INSERT INTO {table} SELECT * FROM {table} LIMIT 1")
    report = harness.build("1m", NOON, ONE)
    assert report["candles"]["updated"] == 1
    assert harness.candles("1m") == harness.expected("1m", (NOON, ONE)).candles


def test_a_violated_invariant_prevents_the_commit(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyspark.sql import functions as F

    import spark_jobs.jobs.rebuild as job

    original = job.candles_from_totals  # type: ignore[attr-defined]  # replace the name that the job imported
    monkeypatch.setattr(
        job,
        "candles_from_totals",
        lambda *arguments, **options: original(*arguments, **options).withColumn(
            "high_price", F.lit(Decimal("0.00000001")).cast("decimal(18,8)")
        ),
    )
    harness.load(some_trades(minutes=2))
    with pytest.raises(OhlcvError, match="high_price must be the highest"):
        harness.build("1m", NOON, ONE)
    assert harness.snapshots("1m") == []


def test_a_missing_table_is_reported(harness: Harness) -> None:
    from ohlcv.iceberg.tables import open_catalog

    open_catalog(harness.settings).drop_table(("market_data", "gold_crypto_trades"))
    with pytest.raises(
        OhlcvError, match=r"there is no table market_data.gold_crypto_trades: run 'ohlcv tables create'"
    ):
        harness.build("1m", NOON, ONE)


def test_a_table_that_does_not_match_its_contract_is_reported(harness: Harness) -> None:
    with harness.table("1m").update_schema() as update:
        update.rename_column("vwap", "average")
    with pytest.raises(
        OhlcvError,
        match=r"gold_ohlcv_1m does not match its contract: column vwap is missing; unexpected column average",
    ):
        harness.build("1m", NOON, ONE)
