"""Publication of candles: a defect of the engine never becomes visible, and the other series do not wait for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from ohlcv.model import summary_keys
from ohlcv.model.audit_records import REJECTION_PROPERTY, Rejection
from ohlcv.model.errors import OhlcvError
from ohlcv.model.source_checkpoint import SourceCheckpoint
from ohlcv.quality.candidate_audit import CandidateAudit
from spark_jobs.iceberg import candle_writer
from spark_jobs.iceberg.candle_writer import Comparison
from support.audits import before_publication, candidate_branches
from support.candidates import stage
from support.candle_rows import MINUTE, candle, write_candles
from support.harness import Harness, at, trade
from support.lanes import spark_cases
from support.reference_model import Trade

NOON, ONE, TWO = (at(f"2026-03-01 {hour}:00") for hour in (12, 13, 14))
SYMBOLS = [f"S{number:02}-USD" for number in range(25)]
BAD, OTHER = SYMBOLS[3], SYMBOLS[4]


def some_trades(symbols: list[str] = SYMBOLS, hours: int = 1, price: int = 100) -> list[Trade]:
    return [
        trade(NOON + timedelta(minutes=minute, seconds=number % 50), f"{price + minute % 7}.5", symbol=symbol)
        for number, symbol in enumerate(symbols)
        for minute in range(0, 60 * hours, 6)
    ]


@pytest.fixture
def harness(spark: SparkSession, tmp_path: Path) -> Harness:
    return Harness(spark, tmp_path / "home")


Defect = Callable[[DataFrame], DataFrame]


def of(*symbols: str) -> Column:
    return F.col("symbol").isin(list(symbols)) & (F.col("window_start") == F.lit(NOON))


def wrong_value(*symbols: str) -> Defect:
    return lambda rows: rows.withColumn(
        "volume", F.when(of(*symbols), F.col("volume") + 1).otherwise(F.col("volume")).cast("decimal(18,8)")
    )


def missing(rows: DataFrame) -> DataFrame:
    return rows.where(~of(BAD))


def extra(rows: DataFrame) -> DataFrame:
    later = F.col("window_start") + F.expr("INTERVAL 1 MINUTE")
    end = F.col("window_end") + F.expr("INTERVAL 1 MINUTE")
    return rows.unionByName(rows.where(of(BAD)).withColumn("window_start", later).withColumn("window_end", end))


def doubled(rows: DataFrame) -> DataFrame:
    return rows.unionByName(rows.where(of(BAD)))


DEFECTS: dict[str, Defect] = {
    "wrong value": wrong_value(BAD),
    "missing": missing,
    "extra": extra,
    "doubled": doubled,
}


@pytest.fixture
def damage(monkeypatch: pytest.MonkeyPatch) -> Callable[[Defect | None], None]:
    """Return a function that sets the defect of all rebuilt candles that are written from then on."""
    current: list[Defect | None] = [None]
    original = candle_writer.stored_rows

    def damaged(comparison: Comparison) -> DataFrame:
        rows = original(comparison)
        return current[0](rows) if current[0] else rows

    monkeypatch.setattr(candle_writer, "stored_rows", damaged)
    return lambda defect: current.__setitem__(0, defect)


def test_an_audited_run_is_one_snapshot_of_main(harness: Harness) -> None:
    harness.load(some_trades())
    report = harness.build("1m", NOON, ONE)
    assert harness.candles("1m") == harness.expected("1m", (NOON, ONE)).candles
    [snapshot] = harness.table("1m").snapshots()
    assert snapshot.snapshot_id == report["snapshot"]
    assert snapshot.summary is not None
    assert snapshot.summary.additional_properties[summary_keys.AUDIT] == summary_keys.AUDIT_OF_CANDIDATE
    assert candidate_branches(harness.table("1m")) == []
    assert report["held"] == []
    assert {"write", "audit", "publish"} <= report["seconds"].keys()


def test_the_totals_of_a_commit_are_those_of_the_table(harness: Harness) -> None:
    harness.load(some_trades(hours=2))
    harness.build("1m", NOON, ONE)
    harness.build("1m", ONE, TWO)
    snapshot = harness.table("1m").current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    assert snapshot.summary.additional_properties["total-records"] == str(len(harness.candles("1m")))
    assert snapshot.summary.additional_properties["total-data-files"] == "1"


def test_without_the_audit_one_snapshot_is_published(spark: SparkSession, tmp_path: Path) -> None:
    harness = Harness(spark, tmp_path / "home", {"OHLCV_1M_AUDIT": "after"})
    harness.load(some_trades())
    report = harness.build("1m", NOON, ONE)
    [snapshot] = harness.table("1m").snapshots()
    assert snapshot.summary is not None
    assert summary_keys.AUDIT not in snapshot.summary.additional_properties
    assert "audit" not in report["seconds"]
    assert candidate_branches(harness.table("1m")) == []


@pytest.mark.parametrize("name", spark_cases({name: name for name in DEFECTS}, "wrong value"))
def test_a_failing_series_is_held_and_the_others_are_published(
    harness: Harness, damage: Callable[[Defect | None], None], name: str
) -> None:
    harness.load(some_trades())
    damage(DEFECTS[name])
    report = harness.build("1m", NOON, ONE, rebuild_pending=True)
    expected = harness.expected("1m", (NOON, ONE)).candles
    others = {key: candle for key, candle in expected.items() if key[0] != BAD}
    assert harness.candles("1m") == others
    assert report["held"] == [f"1m:2026-03-01T12:{next(iter(expected))[1]}:{BAD}"]
    assert report["notes"][-1] == "the audit holds back 1 series: see 'ohlcv audit status'"
    [held] = harness.checkpoint("1m").held
    assert (held.symbol, held.tried) == (BAD, "2026-03-01T13:00:00Z")
    # The candidate that failed can be examined.
    assert held.candidate is not None
    assert harness.table("1m").snapshot_by_id(held.candidate) is not None
    assert candidate_branches(harness.table("1m")) == []

    damage(None)
    assert harness.build("1m", NOON, ONE, rebuild_pending=True)["candles"]["inserted"] == 0
    report = harness.build("1m", ONE, TWO, rebuild_pending=True)
    assert report["held"] == []
    assert harness.candles("1m") == expected
    assert harness.checkpoint("1m").held == frozenset()


def test_a_held_series_keeps_the_candles_that_it_had(harness: Harness, damage: Callable[[Defect | None], None]) -> None:
    harness.load(some_trades())
    harness.build("1m", NOON, ONE, rebuild_pending=True)
    before = harness.stored("1m")
    harness.load(
        [trade(NOON + timedelta(seconds=55), "777", symbol=symbol, trade_id="late") for symbol in (BAD, OTHER)]
    )
    damage(wrong_value(BAD))
    harness.build("1m", NOON, ONE, rebuild_pending=True)
    after = harness.stored("1m")
    changed = {key for key in before if after[key] != before[key]}
    assert {key[0] for key in changed} == {OTHER}
    assert after.keys() == before.keys()


@pytest.mark.spark_cases
def test_a_shorter_run_replaces_the_record_of_a_held_series(
    harness: Harness, damage: Callable[[Defect | None], None]
) -> None:
    # Such a catalog deletes the candidates itself.
    with harness.table("1m").transaction() as transaction:
        transaction.set_properties({"gc.enabled": "false"})
    harness.load(some_trades())
    damage(wrong_value(BAD))
    for minutes in (30, 20):
        harness.build("1m", NOON, NOON + timedelta(minutes=minutes), rebuild_pending=minutes == 30)
        [held] = harness.checkpoint("1m").held
        assert (held.symbol, held.tried) == (BAD, "2026-03-01T12:30:00Z")
    damage(None)
    assert harness.build("1m", NOON, ONE, rebuild_pending=True)["held"] == []
    assert harness.candles("1m") == harness.expected("1m", (NOON, ONE)).candles


def test_a_held_series_that_fails_again_does_not_reject_the_run(
    spark: SparkSession, harness: Harness, damage: Callable[[Defect | None], None]
) -> None:
    harness.load(some_trades(hours=2))
    damage(wrong_value(BAD))
    held = harness.build("1m", NOON, ONE, rebuild_pending=True)["held"]
    strict = Harness(spark, Path(harness.settings.home), {"OHLCV_HELD_PERCENT": "0"})
    assert strict.build("1m", ONE, TWO, rebuild_pending=True)["held"] == held
    assert harness.candles("1m").keys() >= harness.expected("1m", (ONE, TWO)).candles.keys()


def test_too_many_failing_series_reject_the_run(harness: Harness, damage: Callable[[Defect | None], None]) -> None:
    harness.load(some_trades())
    harness.build("1m", NOON, ONE)
    before = harness.stored("1m")
    harness.load(some_trades(hours=2, price=200))
    damage(wrong_value(*SYMBOLS[:3]))
    message = (
        "'ohlcv audit show scheduled__1': 3 findings in 3 of 25 series, the first: fields_equal_the_trades: S00-USD"
    )
    with pytest.raises(OhlcvError, match=message):
        harness.build("1m", NOON, TWO, run_id="scheduled__1")
    assert harness.stored("1m") == before
    rejection = Rejection.from_text(harness.table("1m").properties[REJECTION_PROPERTY])
    assert rejection is not None
    assert (rejection.run_id, rejection.failing, rejection.series) == ("scheduled__1", 3, 25)
    assert rejection.candidate is not None
    assert candidate_branches(harness.table("1m")) == []
    files = {task.file.file_path for task in harness.table("1m").scan(snapshot_id=rejection.candidate).plan_files()}
    # Another rejected run replaces the first one.
    with pytest.raises(OhlcvError, match="the audit rejected"):
        harness.build("1m", NOON, TWO, run_id="scheduled__2")
    assert harness.table("1m").snapshot_by_id(rejection.candidate) is None
    assert not any(Path(urlsplit(path).path).exists() for path in files)
    assert harness.stored("1m") == before
    damage(None)
    harness.build("1m", NOON, TWO)
    assert harness.candles("1m") == harness.expected("1m", (NOON, TWO)).candles


def test_a_damaged_row_outside_the_ranges_rejects_the_run(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.load(some_trades(hours=2))
    harness.build("1m", NOON, TWO)
    before = harness.stored("1m")
    harness.load([trade(ONE + timedelta(seconds=55), "777", symbol=OTHER, trade_id="late")])
    replacement = candle_writer._replacement

    def damaged(*arguments: Any) -> tuple[DataFrame, Column]:
        rows, replaced = replacement(*arguments)
        return wrong_value(BAD)(rows), replaced

    monkeypatch.setattr(candle_writer, "_replacement", damaged)
    with pytest.raises(OhlcvError, match="carried_over_rows_are_unchanged: S03-USD"):
        harness.build("1m", ONE, TWO)
    assert harness.stored("1m") == before


def test_the_checkpoint_of_a_candidate_is_not_read(harness: Harness) -> None:
    stage(harness.table("1m"), {summary_keys.CHECKPOINT: SourceCheckpoint(7).to_text()})
    assert harness.checkpoint("1m") == SourceCheckpoint()


def test_a_commit_of_another_writer_before_the_publication_is_kept(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.load(some_trades())
    harness.build("1m", NOON, ONE)
    harness.load(some_trades(hours=2, price=200))
    foreign = candle(MINUTE, at("2026-03-01 01:00"), symbol="FOREIGN")
    before_publication(monkeypatch, lambda: write_candles(harness.settings, MINUTE, foreign))
    harness.build("1m", NOON, TWO)
    candles = harness.candles("1m")
    assert len([key for key in candles if key[0] == "FOREIGN"]) == 1
    assert {k: v for k, v in candles.items() if k[0] != "FOREIGN"} == harness.expected("1m", (NOON, TWO)).candles
    assert candidate_branches(harness.table("1m")) == []


def test_a_failing_auditor_leaves_main_unchanged(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.load(some_trades())

    def fail() -> None:
        raise OhlcvError("the audit ran out of memory")

    before_publication(monkeypatch, fail)
    with pytest.raises(OhlcvError, match="out of memory"):
        harness.build("1m", NOON, ONE)
    assert harness.candles("1m") == {}
    # The next publication removes the candidate's branch.
    harness.build("1m", NOON, ONE)
    assert candidate_branches(harness.table("1m")) == []
    assert harness.candles("1m") == harness.expected("1m", (NOON, ONE)).candles


@pytest.mark.parametrize("name", ["recompute", "check_candidate"])
def test_an_unreadable_store_during_the_audit_is_one_line(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    harness.load(some_trades())

    def fail(*_: Any) -> None:
        raise OSError("When reading information for key 'x' in bucket 'b': AWS Error ACCESS_DENIED: denied")

    monkeypatch.setattr(CandidateAudit, name, fail)
    with pytest.raises(OhlcvError, match="the audit failed, nothing was published: the store"):
        harness.build("1m", NOON, ONE)
    assert harness.candles("1m") == {}
