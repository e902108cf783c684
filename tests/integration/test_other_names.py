"""Tables with other names: a namespace of two levels, trades in a namespace of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from support.command_line import ColdCommandLine, WarmCommandLine
from support.harness import Harness, at, trade

NAMES = {
    # A level that SQL needs in quotes, and a word of SQL.
    "OHLCV_NAMESPACE": "lake.crypto-1",
    "OHLCV_TRADES_TABLE": "raw.order",
    "OHLCV_CANDLE_TABLES": "bars_{timeframe}",
}
NOON = at("2026-03-01 12:00")


@pytest.fixture
def named(cold: ColdCommandLine, spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> Harness:
    """Return a harness whose tables and views the command line has created."""
    cold.environment.update(NAMES)
    for name, value in NAMES.items():
        monkeypatch.setenv(name, value)
    lines = cold.succeed("tables", "create").splitlines()
    assert lines == [
        "created  raw.order",
        *(f"created  lake.crypto-1.bars_{name}" for name in ("1m", "5m", "30m", "1h", "1d")),
        "created  lake.crypto-1.bars_all (view)",
        "created  lake.crypto-1.bars_latest (view)",
    ]
    return Harness(spark, cold.home, NAMES)


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
    assert len(moved) == 8
    assert len(warm.succeed("tables", "create", **environment).splitlines()) == 8
    (copy / "catalog.db").unlink()
    assert "contains files, but the catalog" in warm.fail(1, "tables", "create", **environment)
    assert len(warm.succeed("tables", "register", **environment).splitlines()) == 6
    assert len(warm.succeed("tables", "create", "--no-views", **environment).splitlines()) == 6
