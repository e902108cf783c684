"""Decisions of operators on real candidates: what they see is what a waiver publishes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ohlcv.iceberg.audit_state import read_audit_state
from ohlcv.iceberg.tables import open_catalog
from ohlcv.model.errors import OhlcvError
from ohlcv.model.timeframes import get_timeframe
from ohlcv.quality.failed_candles import failed_candles
from ohlcv.quality.failure_details import failure_details
from ohlcv.quality.operator_decisions import waive
from spark_jobs.iceberg import candle_writer
from support.harness import Harness, at, trade

NOON = at("2026-03-01 12:10")
END = NOON + timedelta(minutes=30)
MINUTE = get_timeframe("1m")
SYMBOLS = [f"S{number:02}-USD" for number in range(25)]


@pytest.fixture
def damage(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], None]:
    """Return a function that names the symbols whose volumes are too large from then on."""
    symbols: list[str] = []
    replacement = candle_writer._replacement

    def damaged(*arguments: Any) -> tuple[DataFrame, Column]:
        rows, replaced = replacement(*arguments)
        wrong = F.when(F.col("symbol").isin(symbols), F.col("volume") + 1).otherwise(F.col("volume"))
        return rows.withColumn("volume", wrong.cast("decimal(18,8)")), replaced

    monkeypatch.setattr(candle_writer, "_replacement", damaged)
    return lambda names: symbols.__setitem__(slice(None), names)


def load(harness: Harness) -> None:
    """Load trades of every sixth minute of the range."""
    harness.load(
        [
            trade(NOON + timedelta(minutes=minute), "100.5", symbol=symbol)
            for symbol in SYMBOLS
            for minute in range(0, 30, 6)
        ]
    )


def test_a_waiver_publishes_exactly_the_held_candles(harness: Harness, damage: Callable[[list[str]], None]) -> None:
    load(harness)
    damage(SYMBOLS[:1])
    harness.build("1m", NOON, END, rebuild_pending=True)
    state = read_audit_state(harness.table("1m"), MINUTE)
    (held,) = state.held
    catalog = open_catalog(harness.settings)
    details = failure_details(
        harness.settings, failed_candles(harness.settings, catalog, MINUTE, harness.table("1m"), held)
    )
    assert (len(details.findings), details.windows_total) == (held.findings, 5)
    assert {each.symbol for each in details.findings} == set(SYMBOLS[:1])
    name = f"{held.name(MINUTE)}@{held.values}"
    waive(harness.settings, name, reason="x", author="ops", now=datetime.now(UTC))

    report = harness.build("1m", END, END + timedelta(minutes=1), rebuild_pending=True)
    assert report["held"] == []
    added = {SYMBOLS[0]: 1}
    assert {key: candle.volume for key, candle in harness.candles("1m").items()} == {
        key: candle.volume + added.get(key[0], 0) for key, candle in harness.expected("1m", (NOON, END)).candles.items()
    }
    assert read_audit_state(harness.table("1m"), MINUTE).held == ()


def test_a_rejected_run_is_explained_and_resolved(harness: Harness, damage: Callable[[list[str]], None]) -> None:
    load(harness)
    damage(SYMBOLS[:3])
    with pytest.raises(OhlcvError, match="the audit rejected"):
        harness.build("1m", NOON, END, run_id="scheduled__1")
    state = read_audit_state(harness.table("1m"), MINUTE)
    rejection = state.rejection
    assert rejection is not None
    assert state.is_resolved is False
    catalog = open_catalog(harness.settings)
    details = failure_details(
        harness.settings, failed_candles(harness.settings, catalog, MINUTE, harness.table("1m"), rejection)
    )
    assert (len(details.findings), details.windows_total, details.notes) == (rejection.findings, 15, [])
    damage([])
    harness.build("1m", NOON, END, run_id="scheduled__1")
    assert read_audit_state(harness.table("1m"), MINUTE).is_resolved is True
