"""Tables with other names: a namespace of two levels, trades in a namespace of their own."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from ohlcv.model.intervals import Range
from ohlcv.monitoring.doctor import check_tables
from ohlcv.monitoring.health import storage
from ohlcv.quality.validator import validate
from ohlcv.web.candle_query import CandleQuery
from ohlcv.web.data import CandleData
from support.command_line import ColdCommandLine, WarmCommandLine
from support.harness import Harness, at, trade
from support.maintenance import run_maintenance

NAMES = {
    # A level that SQL needs in quotes, and a word of SQL.
    "OHLCV_NAMESPACE": "lake.crypto-1",
    "OHLCV_TRADES_TABLE": "raw.order",
    "OHLCV_CANDLE_TABLES": "bars_{timeframe}",
}
NOON = at("2026-03-01 12:00")
HOUR = Range(NOON, NOON + timedelta(hours=1))
# Days ago, beyond the retention of 1m.
EXPIRED = datetime(2025, 11, 1, 12, tzinfo=UTC)
SQL = (
    "SELECT timeframe, close_price FROM lake.`crypto-1`.bars_latest WHERE symbol = 'BTC-USD'",
    "SELECT count(*) AS commits FROM lake.`crypto-1`.bars_1m.snapshots",
    "SELECT count(*) AS trades FROM raw.`order`",
)
RECORDS = ("publications", "revisions", "coverage", "coverage_notes", "reconciliation")


@pytest.fixture
def named(cold: ColdCommandLine, spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> Harness:
    """Return a harness whose tables and views the command line has created."""
    cold.environment.update(NAMES)
    for name, value in NAMES.items():
        monkeypatch.setenv(name, value)
    lines = cold.succeed("tables", "create").splitlines()
    assert lines == [
        "created  raw.order",
        *(f"created  lake.crypto-1.bars_{name}" for name in ("1m", "5m", "30m", "1h", "1d", *RECORDS)),
        "created  lake.crypto-1.bars_all (view)",
        "created  lake.crypto-1.bars_latest (view)",
    ]
    return Harness(spark, cold.home, NAMES)


def sql(cold: ColdCommandLine, *statements: str) -> list[list[list[Any]]]:
    lines = cold.succeed("sql", *statements, "--format", "json").splitlines()
    return [json.loads(line)["rows"] for line in lines]


def newest_close(data: CandleData) -> Any:
    data.refresh()
    return data.candles("1m", CandleQuery("BTC-USD", "kraken", newest=1)).table["close_price"][0].as_py()


@pytest.mark.services
def test_tables_with_other_names_are_built_read_and_maintained(
    named: Harness, cold: ColdCommandLine, warm: WarmCommandLine
) -> None:
    minute = named.settings.timeframe("1m")
    for time in (EXPIRED, NOON):
        named.load(trade(time + timedelta(seconds=20 * number), str(100 + number)) for number in range(15))
    for time in (EXPIRED, NOON):
        assert named.build("1m", time, time + timedelta(hours=1))["candles"]["inserted"] == 5
    assert (cold.home / "catalog.db.lake.crypto-1.bars_1m.lock").exists()
    assert validate(named.settings, minute, HOUR).findings == []
    assert named.candles("1m") == named.expected("1m", (EXPIRED, HOUR.end)).candles

    assert sql(cold, *SQL) == [[["1m", "114.00000000"]], [["2"]], [["30"]]]
    assert json.loads(warm.succeed("candles", "--timeframe", "1m", "--limit", "1", "--format", "json"))
    data = CandleData(named.settings)
    assert newest_close(data) == 114
    named.load([trade(NOON + timedelta(minutes=10), "200")])
    data.refresh()
    assert data.provisional("1m", "BTC-USD", "kraken").table["close_price"].to_pylist() == [200]
    assert named.build("1m", NOON, HOUR.end)["candles"]["inserted"] == 1

    plan = warm.succeed("retention", "--timeframe", "1m", "--dry-run", "--as-of", "2026-03-02")
    assert "2025-11-01" in plan
    assert run_maintenance(named, "1m", "delete", "compact", "expire", as_of=date(2026, 3, 2), days=(EXPIRED.date(),))
    assert set(named.candles("1m")) == set(named.expected("1m", (HOUR.start, HOUR.end)).candles)
    assert "11, all match their contracts" in check_tables(named.settings)
    assert [each.subject for each in storage(named.settings)][:2] == ["order", "bars_1m"]


def test_tables_with_other_names_are_moved_and_registered(
    named: Harness, cold: ColdCommandLine, warm: WarmCommandLine, tmp_path: Path
) -> None:
    named.load([trade(NOON, "100")])
    copy = tmp_path / "copy"
    shutil.copytree(cold.home, copy)
    environment = {"OHLCV_HOME": str(copy)}
    assert "outside the warehouse" in warm.fail(1, "tables", "create", **environment)
    moved = warm.succeed("tables", "relocate", **environment).splitlines()
    assert {"relocated  raw.order", "relocated  lake.crypto-1.bars_all"} <= set(moved)
    assert len(moved) == 13
    assert len(warm.succeed("tables", "create", **environment).splitlines()) == 13
    (copy / "catalog.db").unlink()
    assert "contains files, but the catalog" in warm.fail(1, "tables", "create", **environment)
    assert len(warm.succeed("tables", "register", **environment).splitlines()) == 11
    assert len(warm.succeed("tables", "create", "--no-views", **environment).splitlines()) == 11
