"""Options that choose timeframes: only enabled ones are accepted, and `all` means these."""

from __future__ import annotations

import json

import pytest

from support.command_line import WarmCommandLine

DAY = ("--start", "2026-03-01T00:00:00Z", "--end", "2026-03-02T00:00:00Z")
COMMANDS = [
    ("tables", "widen-volume", "--timeframe", "2h"),
    ("tables", "extend", "--timeframe", "2h"),
    ("build", "--timeframe", "2h", *DAY),
    ("candles", "--timeframe", "2h"),
    ("candles", "--timeframe", "2h", "--symbol", "S", "--exchange", "X", "--history", "2026-03-01T00:00:00Z"),
    ("revisions", "--timeframe", "2h"),
    ("retention", "--timeframe", "2h"),
    ("maintain", "--timeframe", "2h"),
    ("validate", "--timeframe", "2h"),
    ("validate", "--run", "r", "--range", "2h=2026-01-31T10:00:00Z/2026-01-31T12:00:00Z"),
    ("audit", "status", "--timeframe", "2h"),
    ("audit", "retry", "2h:2026-03-01T12:X:S"),
    ("ledger", "record", "--timeframe", "2h"),
    ("ledger", "status", "--timeframe", "2h"),
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_timeframe_that_is_not_enabled_is_one_line_and_writes_nothing(
    warm: WarmCommandLine, arguments: tuple[str, ...]
) -> None:
    result = warm.run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == "error: timeframe '2h' is not enabled: add it to OHLCV_TIMEFRAMES"
    assert not warm.home.exists()


def test_all_means_the_enabled_timeframes(warm: WarmCommandLine) -> None:
    enabled = {"OHLCV_TIMEFRAMES": "4h,15m"}
    created = warm.run("tables", "create", "--no-views", **enabled)
    assert created.returncode == 0, created.stderr
    result = warm.run("ledger", "status", "--format", "json", **enabled)
    assert [json.loads(line)["timeframe"] for line in result.stdout.splitlines()] == ["15m", "4h"]


def test_an_invalid_setting_is_one_line(warm: WarmCommandLine) -> None:
    result = warm.run("candles", "--timeframe", "1m", OHLCV_TIMEFRAMES="1m,1w")
    known = "1m, 5m, 15m, 30m, 1h, 2h, 4h, 1d"
    assert (result.returncode, result.stderr) == (
        2,
        f"error: OHLCV_TIMEFRAMES has '1w': give some of {known}, separated by commas\n",
    )
