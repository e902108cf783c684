"""Existing tables: `ohlcv tables adopt` and `ohlcv tables map`, and the refusal to write to a mapped table."""

from __future__ import annotations

import json
import math

import pytest

from ohlcv.iceberg.tables import open_catalog
from ohlcv.readers.trades import load_trades
from support.command_line import WarmCommandLine
from support.mapped_trades import SHAPES, append_rows, mapped_settings


def test_adopt_shows_each_candle_table_and_changes_nothing(warm: WarmCommandLine) -> None:
    warm.succeed("tables", "create", "--no-views")
    before = warm.files()
    lines = warm.succeed("tables", "adopt").splitlines()
    assert [line.split()[:3] for line in lines if " market_data." in line] == [
        [name, f"market_data.gold_ohlcv_{name}", "empty"] for name in ("1m", "5m", "30m", "1h", "1d")
    ]
    result = warm.run("tables", "adopt", "--json", OHLCV_CANDLE_TABLES="other_{timeframe}")
    assert (result.returncode, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert {each["state"] for each in found["tables"]} == {"missing"}
    assert found["views"] == []
    assert warm.files() == before


def test_adopt_ends_with_1_where_jobs_would_refuse_a_table(warm: WarmCommandLine) -> None:
    warm.succeed("tables", "create", "--no-views")
    result = warm.run("tables", "adopt", OHLCV_WAREHOUSE=str(warm.folder / "other"))
    assert result.returncode == 1
    assert "1m: market_data.gold_ohlcv_1m is stored in" in result.stdout


def test_map_shows_mapped_rows_and_rejections(warm: WarmCommandLine) -> None:
    shape = SHAPES["nanoseconds without ids"]
    settings = mapped_settings(warm.folder, shape)
    row = {"ns": 1_772_366_400_000_000_999, "quantity": 0.1, "price": 1, "exchange": "kraken", "seq": None}
    table = load_trades(open_catalog(settings), settings.trades_contract).table
    append_rows(table, [row, row | {"quantity": math.inf}, row | {"price": 0}])
    before = warm.files()
    file = str(warm.folder / "mapping.yaml")
    lines = warm.succeed("tables", "map", "--dry-run", "--file", file).splitlines()
    assert [line.split() for line in lines if "kraken" in line] == [
        ["BTC-USD", "kraken", "2026-03-01T12:00:00Z", "0.10000000", "1.00000000", "-"],
        ["BTC-USD", "kraken", "2026-03-01T12:00:00Z", "-", "1.00000000", "infinite"],
        ["BTC-USD", "kraken", "2026-03-01T12:00:00Z", "0.10000000", "0.00000000", "bad_quantity"],
    ]
    assert lines[-4:] == [
        "3 rows read of 1 of 1 files: 1 valid, 2 rejected, 0 excluded by filters",
        "side of the valid trades: 0 buy, 0 sell, 1 without one",
        "rejected: bad_quantity: 1",
        "rejected: infinite: 1",
    ]
    found = json.loads(warm.succeed("tables", "map", "--dry-run", "--json", OHLCV_TRADES_MAPPING=file))
    assert (found["valid"], found["rejected"], found["complete"]) == (1, {"infinite": 1, "bad_quantity": 1}, True)
    assert found["rows"][0]["price"] == "0.10000000"
    assert warm.files() == before


def test_map_reports_what_is_wrong_in_one_line(warm: WarmCommandLine) -> None:
    file = warm.folder / "mapping.yaml"
    assert "add --dry-run" in warm.fail(2, "tables", "map")
    assert "give --file, or set OHLCV_TRADES_MAPPING" in warm.fail(2, "tables", "map", "--dry-run")
    command = ("tables", "map", "--dry-run", "--file", str(file))
    assert "--file cannot be read" in warm.fail(2, *command)
    mapped_settings(warm.folder, SHAPES["nanoseconds without ids"])
    file.write_text(
        "timestamp: {column: ns, unit: ns}\nprice: px\nquantity: quantity\nsymbol: exchange\nexchange: seq\n"
    )
    assert "trade_id is missing" in warm.fail(2, *command)
    file.write_text(f"{file.read_text()}identity: every row\n")
    message = warm.fail(1, *command)
    assert "column px is missing" in message
    assert "exchange: column seq is long, not string" in message
    assert "there is no table market_data.other" in warm.fail(1, *command, OHLCV_TRADES_TABLE="other")


@pytest.mark.parametrize("command", [("load", "mine.csv"), ("sample", "--trades", "8"), ("feed", "--trades", "8")])
def test_a_mapped_table_is_never_written(warm: WarmCommandLine, command: tuple[str, ...]) -> None:
    mapped_settings(warm.folder, SHAPES["nanoseconds without ids"])
    (warm.folder / "mine.csv").write_text("exchange,symbol,trade_id,timestamp,price,quantity\nx,y,1,1,1,1\n")
    before = warm.files()
    message = warm.fail(2, "trades", *command, OHLCV_TRADES_MAPPING=str(warm.folder / "mapping.yaml"))
    assert "has a mapping (OHLCV_TRADES_MAPPING), so it is only read" in message
    assert warm.files() == before
