"""The `candles` command."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ohlcv.cli.candles import candles
from ohlcv.config.settings import Settings
from ohlcv.model.errors import InputError
from ohlcv.readers.candles import read_candles
from support.candle_rows import (
    COLUMNS,
    MINUTE,
    Row,
    at,
    candle,
    write_candles,
)

# Runs the command with the arguments.
Run = Callable[..., Result]


class TestCommand:
    @pytest.fixture
    def run(self, settings: Settings) -> Run:
        def run(*arguments: str) -> Result:
            # Errors are raised unchanged here; ohlcv.cli.main converts them to exit codes.
            return CliRunner().invoke(
                candles, [*arguments], env={"OHLCV_HOME": str(settings.home)}, catch_exceptions=False
            )

        return run

    def test_csv_output_has_every_value(self, settings: Settings, run: Run) -> None:
        rows = [candle(MINUTE, "2026-03-01T10:00", "0.6"), candle(MINUTE, "2026-03-01T10:02", "9999999990.12345678")]
        write_candles(settings, MINUTE, *rows)
        result = run("--timeframe", "1m", "--format", "csv", "--fill", "previous")
        assert result.exit_code == 0
        header, *lines = result.stdout.splitlines()
        assert header == ",".join([*COLUMNS, "filled", "fill_reason"])
        assert lines[1] == (
            "BTC,X,2026-03-01T10:01:00Z,2026-03-01T10:02:00Z,2026-03-01,"
            "0.60000000,0.60000000,0.60000000,0.60000000,0.00000000,0,,,,true,"
        )
        parsed = [typed(row) for row in csv.DictReader(io.StringIO(result.stdout))]
        assert parsed == read_candles(settings, MINUTE, fill="previous").to_pylist()
        assert "all candles" in result.stderr

    def test_json_output_has_every_value(self, settings: Settings, run: Run) -> None:
        rows = [candle(MINUTE, f"2026-03-01T10:0{minute}", "0.50000001") for minute in (0, 2)]
        write_candles(settings, MINUTE, *rows)
        result = run("--timeframe", "1m", "--format", "json", "--fill", "previous")
        output = json.loads(result.stdout)
        assert list(output[0]) == [*COLUMNS, "filled", "fill_reason"]
        assert output[0]["low_price"] == "0.00000001"
        assert output[0]["created_at"] == "2026-03-01T12:00:00.123456Z"
        assert output[0]["trade_count"] == 3
        assert output[1]["vwap"] is None
        assert [typed(row) for row in output] == read_candles(settings, MINUTE, fill="previous").to_pylist()

    def test_table_output_aligns_decimal_points(self, settings: Settings, run: Run) -> None:
        write_candles(
            settings,
            MINUTE,
            candle(MINUTE, "2026-03-01T10:00", "1234567890.5", symbol="[b]BTC"),
            candle(MINUTE, "2026-03-01T10:02", "0.50000001", symbol="[b]BTC"),
        )
        result = run("--timeframe", "1m", "--fill", "previous")
        assert result.exit_code == 0
        lines = [line.rstrip() for line in result.stdout.splitlines() if line.strip(" ─╶╴━")]
        assert lines[0].split() == [
            *("symbol", "exchange", "window", "start", "open", "high", "low", "close", "volume", "trades", "vwap"),
            *("filled", "reason"),
        ]
        assert lines[2].split() == [
            *("[b]BTC", "X", "2026-03-01T10:01:00Z", *["1234567890.50000000"] * 2, "1234567890.50000000"),
            *("1234567890.50000000", "0.0", "0", "-", "yes"),
        ]
        # The decimal points are aligned.
        assert lines[1].index("1234567891.50000000") + 9 == lines[3].index("1.50000001")
        assert "newest 20 windows" in result.stderr

    def test_default_and_explicit_limits(self, settings: Settings, run: Run) -> None:
        write_candles(
            settings,
            MINUTE,
            *(candle(MINUTE, at("2026-03-01T10:00") + timedelta(minutes=minute)) for minute in range(25)),
        )
        arguments = ("--timeframe", "1m")
        assert run(*arguments).stdout.count("BTC") == 20
        assert run(*arguments, "--start", "2026-03-01T00:00:00Z").stdout.count("BTC") == 25
        assert run(*arguments, "--format", "csv").stdout.count("BTC") == 25
        limited = run(*arguments, "--format", "csv", "--limit", "2")
        assert limited.stdout.count("BTC") == 2
        assert limited.stderr == ""
        ranged = run(*arguments, "--format", "json", "--start", "2026-03-01T10:01Z", "--end", "2026-03-01T10:03Z")
        assert len(json.loads(ranged.stdout)) == 2
        assert ranged.stderr == ""

    def test_a_time_without_a_time_zone_prints_a_note(self, settings: Settings, run: Run) -> None:
        write_candles(settings, MINUTE, candle(MINUTE, "2026-03-01T10:00"))
        result = run("--timeframe", "1m", "--start", "2026-03-01T10:00", "--end", "2026-03-01T11:00Z")
        assert result.stderr == "note: --start 2026-03-01T10:00 has no time zone: UTC is assumed\n"
        assert "BTC" in result.stdout

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--timeframe", "2m"], "unknown timeframe '2m'"),
            (["--timeframe", "1m", "--start", "2026-03-02T00Z", "--end", "2026-03-01T00Z"], "must be before end"),
            (["--timeframe", "1m", "--start", "yesterday"], "not an ISO time"),
        ],
    )
    def test_invalid_input_is_an_input_error(self, run: Run, arguments: list[str], message: str) -> None:
        with pytest.raises(InputError, match=message):
            run(*arguments)

    def test_an_empty_result_succeeds_with_a_note(self, settings: Settings, run: Run) -> None:
        result = run("--timeframe", "1m", "--limit", "5")
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == "note: no candles: the 1m table is empty\n"
        assert json.loads(run("--timeframe", "1m", "--format", "json").stdout) == []
        assert run("--timeframe", "1m", "--format", "csv").stdout == ",".join(COLUMNS) + "\n"
        write_candles(settings, MINUTE, candle(MINUTE, "2026-03-01T10:00"))
        result = run("--timeframe", "1m", "--start", "2026-04-01T00:00Z")
        assert (result.exit_code, result.stderr) == (0, "note: no 1m candles in that range\n")

    def test_a_note_on_an_unknown_name_lists_the_available_names(self, settings: Settings, run: Run) -> None:
        write_candles(
            settings,
            MINUTE,
            *(
                candle(MINUTE, "2026-03-01T10:00", "1", symbol, exchange)
                for symbol, exchange in [("ETH", "X"), ("BTC", "X"), ("BTC", "Y")]
            ),
        )
        result = run("--timeframe", "1m", "--symbol", "DOGE", "--limit", "1")
        assert result.exit_code == 0
        assert "symbol 'DOGE'" in result.stderr
        assert "contain BTC, ETH (use --start" in result.stderr
        result = run("--timeframe", "1m", "--exchange", "Z", "--start", "2026-03-01T00Z")
        assert "exchange 'Z'" in result.stderr
        assert result.stderr.endswith("contain X, Y\n")
        result = run("--timeframe", "1m", "--symbol", "ETH", "--exchange", "Y", "--limit", "1")
        assert "contain it on X" in result.stderr

    def test_the_module_imports_no_slow_libraries(self) -> None:
        code = (
            "import sys; import ohlcv.cli.candles; "
            "sys.exit(','.join({'pyarrow', 'pyiceberg', 'duckdb', 'rich'} & sys.modules.keys()))"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert result.stderr.strip() == ""


def typed(row: dict[str, Any]) -> Row:
    """Convert a row of CSV or JSON output back to the types of the columns."""

    def value(name: str, text: Any) -> Any:
        if text in ("", None):
            return None
        if name in ("symbol", "exchange", "fill_reason"):
            return text
        if name == "window_date":
            return date.fromisoformat(text)
        if name == "trade_count":
            return int(text)
        if name == "filled":
            return text in (True, "true")
        return Decimal(text) if name.endswith("_price") or name in ("volume", "vwap") else datetime.fromisoformat(text)

    return {name: value(name, text) for name, text in row.items()}
