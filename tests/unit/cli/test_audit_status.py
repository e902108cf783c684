"""`ohlcv audit status`: held series, rejected runs and waivers."""

from __future__ import annotations

import json

import pytest

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model.audit_records import DECISIONS_PROPERTY, Decisions, Retry, Waiver
from ohlcv.model.source_hours import hour_number
from support.audit_records import NOON, held_series, hold, reject, rejected_run
from support.candle_rows import DAY, MINUTE, at
from support.command_line import WarmCommandLine
from support.default_tables import candles_contract

HOUR = hour_number(NOON)
WAIVER = Waiver("binance", "ETH/USD", HOUR, "76543210", ("a", "b"), "ops", "bad [feed]", "2026-03-01T12:40:00Z")

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")


def test_without_records_nothing_is_held_and_no_run_was_rejected(settings: Settings, warm: WarmCommandLine) -> None:
    assert warm.succeed("audit", "status") == "no series is held\nno run was rejected\n"
    answer = json.loads(warm.succeed("audit", "status", "--json"))
    assert {name: answer[name] for name in ("held", "rejected", "waivers")} == {
        "held": [],
        "rejected": [],
        "waivers": [],
    }


def test_held_series_rejected_runs_and_waivers_of_all_timeframes_are_shown(
    settings: Settings, warm: WarmCommandLine
) -> None:
    first, second = held_series(), held_series(exchange="kraken", since="2026-03-01T12:20:00Z")
    hold(settings, MINUTE, first, second)
    hold(settings, DAY, held_series(hour=hour_number(at("2026-03-01"))))
    reject(settings, MINUTE, rejected_run())
    decisions = Decisions((WAIVER,), (Retry("kraken", "BTC/USD", HOUR, second.tried),))
    with load_table(open_catalog(settings), candles_contract(MINUTE)).transaction() as transaction:
        transaction.set_properties({DECISIONS_PROPERTY: decisions.to_text()})

    answer = json.loads(warm.succeed("audit", "status", "--json"))
    assert [(each["key"], each["values"], each["retry_requested"]) for each in answer["held"]] == [
        ("1m:2026-03-01T12:binance:BTC/USD", "01234567", False),
        ("1m:2026-03-01T12:kraken:BTC/USD", "01234567", True),
        ("1d:2026-03-01T00:binance:BTC/USD", "01234567", False),
    ]
    assert answer["held"][0]["age_seconds"] == answer["held"][1]["age_seconds"] + 600
    (run,) = answer["rejected"]
    assert (run["run_id"], run["failing"], run["series"], run["resolved"]) == (rejected_run().run_id, 3, 8, False)
    assert answer["waivers"] == [
        {
            "timeframe": "1m",
            "key": "1m:2026-03-01T12:binance:ETH/USD",
            "values": "76543210",
            "findings": 2,
            "author": "ops",
            "reason": "bad [feed]",
            "at": "2026-03-01T12:40:00Z",
        }
    ]

    text = " ".join(warm.succeed("audit", "status").split())
    assert "1m:2026-03-01T12:binance:BTC/USD@01234567 fields_equal_the_trades 2 2026-03-01T12:10:00Z" in text
    assert "1m 2026-03-01T12:00:00Z .. 2026-03-01T12:10:00Z none_is_missing 9 3 of 8" in text
    assert "1m:2026-03-01T12:binance:ETH/USD@76543210 ops bad [feed] 2026-03-01T12:40:00Z" in text


def test_one_timeframe_can_be_selected(settings: Settings, warm: WarmCommandLine) -> None:
    hold(settings, MINUTE, held_series())
    assert "no series is held" in warm.succeed("audit", "status", "--timeframe", "1d")
    assert warm.fail(2, "audit", "status", "--timeframe", "2m").startswith("unknown timeframe '2m'")


def test_missing_tables_are_one_line(warm: WarmCommandLine) -> None:
    assert "run 'ohlcv tables create'" in warm.fail(1, "audit", "status")
