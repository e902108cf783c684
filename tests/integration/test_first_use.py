"""The first use of the command line: from an empty folder to validated candles.

By default of one timeframe; in the lane of all, with deletion and maintenance, where each is a spark-submit.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession

from ohlcv.model.intervals import to_microseconds
from support.candle_rows import table_row
from support.command_line import ColdCommandLine, CommandLine, Result, WarmCommandLine
from support.harness import WIDTHS, Harness, at
from support.reference_model import TRADE_COLUMNS, Trade, reference_candles

DAY = ("--start", "2026-03-01T00:00:00Z", "--end", "2026-03-02T00:00:00Z")
# The candles of one hour, in SQL.
HOUR = "market_data.gold_ohlcv_1h WHERE window_start = TIMESTAMP '2026-03-01 20:00:00'"


def create_and_load(cold: ColdCommandLine, repeated: CommandLine) -> None:
    """Create the tables and load the sample, each twice."""
    first = cold.succeed("tables", "create").splitlines()
    assert len(first) == 13
    assert all(line.startswith("created  market_data.") for line in first)
    again = repeated.succeed("tables", "create").splitlines()
    assert again == [line.replace("created ", "exists  ") for line in first]
    sample = ("trades", "sample", "--trades", "3000", "--end", "2026-03-02T00:00:00Z", "--hours", "13", "--json")
    flaws = ("--duplicates", "200", "--bad-rows", "24")
    assert json.loads(cold.succeed(*sample, *flaws))["loaded"] == 3224
    assert json.loads(repeated.succeed(*sample, *flaws))["loaded"] == 0


def stored_trades(harness: Harness) -> list[Trade]:
    rows = harness.table().scan(selected_fields=TRADE_COLUMNS).to_arrow().to_pylist()
    return [Trade(**row) for row in rows]


def parse_row(row: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a candle from CSV or JSON text."""
    times = ("window_start", "window_end")
    amounts = ("open_price", "high_price", "low_price", "close_price", "volume", "vwap")
    return {
        "symbol": row["symbol"],
        "exchange": row["exchange"],
        **{name: datetime.fromisoformat(row[name]) for name in times},
        **{name: Decimal(row[name]) for name in amounts},
        "trade_count": int(row["trade_count"]),
    }


def key(row: Mapping[str, Any]) -> tuple[str, str, datetime]:
    return row["symbol"], row["exchange"], row["window_start"]


def test_create_load_build_read_and_validate(cold: ColdCommandLine, warm: WarmCommandLine, spark: SparkSession) -> None:
    """The creation of the views and the build are a spark-submit each. Commands that only read run in this process."""
    cold.environment["OHLCV_SPARK_MASTER"] = "local[2]"
    create_and_load(cold, warm)
    harness = Harness(spark, cold.home)
    report = json.loads(cold.succeed("build", "--timeframe", "1h", *DAY, "--json"))
    check_candles(warm, harness, {"1h": report})
    check_views(harness, {"1h": report["candles"]["inserted"]})
    validation = ("validate", "--timeframe", "1h", *DAY)
    assert json.loads(warm.succeed(*validation, "--format", "json"))["failures"] == 0
    harness.sql(f"DELETE FROM iceberg.{HOUR}")
    check_missing_candle(warm.run(*validation))


@pytest.mark.services
@pytest.mark.timeout(3600)
def test_create_load_build_read_validate_and_retain(cold: ColdCommandLine, spark: SparkSession) -> None:
    """Everything a user does the first time, with all timeframes."""
    cold.environment["OHLCV_SPARK_MASTER"] = "local[2]"
    create_and_load(cold, cold)
    lines = cold.succeed("build", "--timeframe", "all", *DAY, "--json").splitlines()
    reports = {report["timeframe"]: report for report in map(json.loads, lines)}
    assert list(reports) == list(WIDTHS)

    harness = Harness(spark, cold.home)
    check_candles(cold, harness, reports)
    result = cold.run("candles", "--timeframe", "1d", "--symbol", "BTC-USD")
    assert (result.returncode, "window start" in result.stdout, "2026-03-01T00:00:00Z" in result.stdout) == (
        0,
        True,
        True,
    )
    assert "Traceback" not in result.stderr
    check_views(harness, {name: report["candles"]["inserted"] for name, report in reports.items()})
    check_validation(cold)
    check_retention(cold)


def check_candles(commands: CommandLine, harness: Harness, reports: Mapping[str, Any]) -> None:
    """Compare the reports of the builds, and the printed candles, with the reference model."""
    trades = stored_trades(harness)
    span = (to_microseconds(at("2026-03-01")), to_microseconds(at("2026-03-02")))
    for name, report in reports.items():
        expected = reference_candles(trades, WIDTHS[name] * 1_000_000, [span])
        expected_rows = sorted((table_row(candle) for candle in expected.candles.values()), key=key)
        assert report["candles"]["inserted"] == len(expected_rows) > 0
        assert (report["trades_read"], report["rejected"]) == (expected.trades_read, expected.rejected)
        assert report["withheld"] == []

        as_csv = list(csv.DictReader(io.StringIO(commands.succeed("candles", "--timeframe", name, "--format", "csv"))))
        as_json = json.loads(commands.succeed("candles", "--timeframe", name, "--format", "json", *DAY))
        assert sorted(map(parse_row, as_csv), key=key) == expected_rows
        assert sorted(map(parse_row, as_json), key=key) == expected_rows


def check_retention(cold: ColdCommandLine) -> None:
    # All sample trades are of 1 March 2026. A retention of one day would delete all candles, which is refused.
    arguments = ("retention", "--timeframe", "1h", "--as-of", "2026-03-31", "--format", "json")
    assert "have expired" in cold.fail(2, *arguments, OHLCV_RETENTION_DAYS="1")
    insert = "INSERT INTO market_data.gold_ohlcv_1h SELECT symbol, exchange, window_start + INTERVAL 30 DAY, "
    rest = "* EXCEPT (symbol, exchange, window_start, window_end, window_date)"
    cold.succeed(
        "sql", f"{insert} window_end + INTERVAL 30 DAY, window_date + 30, {rest} FROM market_data.gold_ohlcv_1h"
    )
    settings = {"OHLCV_RETENTION_DAYS": "1"}
    assert "(50.0%) would be deleted, more than 40%: nothing" in cold.fail(
        2, *arguments, "--max-share", "0.4", **settings
    )
    (plan,) = map(json.loads, cold.succeed(*arguments, "--dry-run", **settings).splitlines())
    assert (plan["partitions"], plan["oldest"], plan["newest"], plan["deleted"]) == (
        1,
        "2026-03-01",
        "2026-03-01",
        None,
    )
    (executed,) = map(json.loads, cold.succeed(*arguments, **settings).splitlines())
    assert executed["deleted"] == {"partitions": 1, "files": plan["files"], "rows": plan["rows"]}
    (maintained,) = map(json.loads, cold.succeed("maintain", "--timeframe", "1h", "--format", "json").splitlines())
    assert maintained["after"]["rows"] == plan["rows"]


def check_validation(cold: ColdCommandLine) -> None:
    results = [json.loads(line) for line in cold.succeed("validate", *DAY, "--format", "json").splitlines()]
    assert [result["timeframe"] for result in results] == list(WIDTHS)
    # Rejected rows and repeated deliveries of the sample cause only warnings.
    assert [result["failures"] for result in results] == [0] * 5
    assert {finding["rule"] for result in results for finding in result["findings"]} <= {
        "few_trades_are_rejected",
        "sequences_have_no_gaps",
    }
    outputs = cold.succeed(
        "sql", f"SELECT count(*) AS candles FROM {HOUR}", f"DELETE FROM {HOUR};", "--format", "json"
    ).splitlines()
    assert json.loads(outputs[0]) == {"columns": ["candles"], "rows": [["8"]], "more": False}
    failed = cold.run("sql", "SELECT nothing FROM nowhere")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.splitlines()[-1].startswith("error: Spark failed: [TABLE_OR_VIEW_NOT_FOUND]")
    check_missing_candle(cold.run("validate", "--timeframe", "1h", *DAY))
    empty = cold.run("validate", "--start", "2026-02-01T00:00Z", "--end", "2026-02-02T00:00Z", "--timeframe", "1d")
    assert empty.returncode == 0
    assert "note: 1d: there are no trades in [2026-02-01T00:00:00Z, 2026-02-02T00:00:00Z)" in empty.stderr


def check_missing_candle(result: Result) -> None:
    assert result.returncode == 1
    assert "FAIL 1h none_is_missing: BTC-USD binance 2026-03-01T20:00:00Z: stored nothing, expected " in result.stderr
    assert "every window with trades has its candle" in result.stdout


def check_views(harness: Harness, counts: Mapping[str, int]) -> None:
    def rows(statement: str) -> list[Row]:
        return harness.spark.sql(statement).collect()

    found = rows("SELECT timeframe, count(*) AS candles FROM iceberg.market_data.ohlcv GROUP BY timeframe")
    assert {row.timeframe: row.candles for row in found} == counts
    latest = rows("SELECT timeframe, symbol, exchange, window_start FROM iceberg.market_data.ohlcv_latest")
    newest = rows(
        "SELECT timeframe, symbol, exchange, max(window_start) AS window_start "
        "FROM iceberg.market_data.ohlcv GROUP BY timeframe, symbol, exchange"
    )
    assert sorted(latest) == sorted(newest)
    assert len(latest) == len(counts) * 8
