"""`ohlcv tables adopt`: the commands that examine existing tables."""

from __future__ import annotations

import json

from support.command_line import WarmCommandLine


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
