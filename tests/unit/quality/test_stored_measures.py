"""Stored measures are validated by the trades and by the finer timeframe."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import extend, widen_volume
from ohlcv.model import summary_keys
from ohlcv.model.intervals import Range
from ohlcv.model.table_contracts import MEASURES
from ohlcv.quality.recomputation import Recomputation, common_step
from ohlcv.quality.rule_database import load_stored
from ohlcv.quality.validator import validate
from support.audited_tables import add_trades, built, candle_table, publish, trade
from support.candle_rows import MINUTE, Row, at
from support.default_tables import candles_contract
from support.measured_candles import (
    FIVE_MINUTES,
    INCOMPLETE,
    NOON,
    ONE,
    WITHOUT,
    extend_and_load,
    found,
    measured,
    publish_as_run,
    source,
)

SPAN = Range(NOON, ONE)
ETH = measured(MINUTE, "2026-03-01T12:00", "ETH")
LATER = NOON + timedelta(microseconds=1)
DEFECTS = [
    pytest.param({}, [], id="exact"),
    pytest.param(WITHOUT, [], id="not filled"),
    pytest.param(
        {"quote_volume": Decimal("2.0000000000000001")},
        [("measures_equal_the_trades", "quote_volume 2.0000000000000001", "2.0000000000000000")],
        id="quote_volume",
    ),
    pytest.param(
        {"taker_buy_volume": Decimal("-1.99999999")},
        [("measures_equal_the_trades", "taker_buy_volume -1.99999999", "2.00000000")],
        id="taker_buy_volume",
    ),
    pytest.param(
        {"taker_buy_quote_volume": Decimal("9999999999999999999999.9999999999999999")},
        [
            (
                "measures_equal_the_trades",
                "taker_buy_quote_volume 9999999999999999999999.9999999999999999",
                "2.0000000000000000",
            )
        ],
        id="taker_buy_quote_volume",
    ),
    pytest.param(
        {"first_trade_at": LATER},
        [("measures_equal_the_trades", "first_trade_at 2026-03-01T12:00:00.000001Z", "2026-03-01T12:00:00.000000Z")],
        id="first_trade_at",
    ),
    pytest.param(
        {"last_trade_at": LATER},
        [("measures_equal_the_trades", "last_trade_at 2026-03-01T12:00:00.000001Z", "2026-03-01T12:00:00.000000Z")],
        id="last_trade_at",
    ),
    pytest.param(
        {"taker_buy_volume": None, "taker_buy_quote_volume": None},
        [
            ("measures_equal_the_trades", "taker_buy_quote_volume NULL", "2.0000000000000000"),
            ("measures_equal_the_trades", "taker_buy_volume NULL", "2.00000000"),
        ],
        id="the taker of trades with sides",
    ),
    pytest.param(
        {"taker_buy_volume": None},
        [
            ("measures_are_complete", "no taker_buy_volume", INCOMPLETE),
            ("measures_equal_the_trades", "taker_buy_volume NULL", "2.00000000"),
        ],
        id="half a pair",
    ),
    pytest.param(
        {"quote_volume": None}, [("measures_are_complete", "no quote_volume", INCOMPLETE)], id="no quote volume"
    ),
    pytest.param(
        {"last_trade_at": None},
        [
            ("measures_are_complete", "no last_trade_at", INCOMPLETE),
            ("measures_equal_the_trades", "last_trade_at NULL", "2026-03-01T12:00:00.000000Z"),
        ],
        id="no last trade",
    ),
]


@pytest.fixture
def extended(settings: Settings) -> Settings:
    """Return settings with extended tables and two buys."""
    extend_and_load(settings)
    return settings


@pytest.mark.parametrize(("values", "findings"), DEFECTS)
def test_stored_measures_are_validated(
    extended: Settings, values: dict[str, Any], findings: list[tuple[str, str, str]]
) -> None:
    publish_as_run(extended, MINUTE, measured(MINUTE, "2026-03-01T12:00", **values), ETH)
    result = validate(extended, MINUTE, SPAN)
    assert found(result) == [(rule, "BTC", stored, recomputed) for rule, stored, recomputed in findings]
    assert {each.severity for each in result.findings} <= {"FAIL"}


def test_a_trade_without_a_side_leaves_the_taker_unknown(extended: Settings) -> None:
    add_trades(extended, trade("2026-03-01T12:01") | {"side": "buy"})
    unknown = measured(MINUTE, "2026-03-01T12:01", taker_buy_volume=None, taker_buy_quote_volume=None)
    publish_as_run(extended, MINUTE, measured(MINUTE, "2026-03-01T12:00"), unknown, ETH)
    assert found(validate(extended, MINUTE, SPAN)) == []


def test_an_audited_commit_is_validated_without_the_trades(extended: Settings) -> None:
    row = measured(MINUTE, "2026-03-01T12:00", quote_volume=Decimal(3), first_trade_at=None)
    publish_as_run(extended, MINUTE, row, ETH, **{summary_keys.AUDIT: summary_keys.AUDIT_OF_CANDIDATE})
    assert [each.rule for each in validate(extended, MINUTE, SPAN, "a run").findings] == ["measures_are_complete"]


def test_a_wide_table_has_exact_measures(extended: Settings) -> None:
    widen_volume(extended, candles_contract(MINUTE))
    publish_as_run(extended, MINUTE, measured(MINUTE, "2026-03-01T12:00"), ETH | {"quote_volume": Decimal(3)})
    assert [each.symbol for each in validate(extended, MINUTE, SPAN).findings] == ["ETH"]


def test_preserved_candles_keep_any_measures(extended: Settings) -> None:
    # The hour before has no trades any more.
    preserved = measured(MINUTE, "2026-03-01T11:30", quote_volume=Decimal(5))
    publish_as_run(extended, MINUTE, preserved, measured(MINUTE, "2026-03-01T12:00"), ETH)
    assert found(validate(extended, MINUTE, Range(at("2026-03-01T11:00"), ONE))) == []


def test_a_snapshot_before_the_extension_has_no_measures(settings: Settings) -> None:
    publish(settings, MINUTE, [built(MINUTE, "2026-03-01T12:00")])
    before = candle_table(settings, MINUTE).current_snapshot()
    extend(settings, candles_contract(MINUTE))
    assert before is not None
    add_trades(settings, trade("2026-03-01T12:00"))
    with Recomputation([SPAN], common_step([MINUTE]), measures=True) as recomputation:
        recomputation.run(source(settings), None)
        load_stored(recomputation.connection, MINUTE, candle_table(settings, MINUTE), [SPAN], before.snapshot_id)
        assert recomputation.find_violations(MINUTE, [SPAN]) == []
        assert recomputation.connection.execute(f"SELECT {', '.join(MEASURES)} FROM stored").fetchall() == [(None,) * 5]


def finer_findings(settings: Settings, minutes: list[Row], **values: Any) -> list[tuple[str, str, str]]:
    """Return the findings of measures of a 5m candle of two minutes, compared with its 1m candles."""
    add_trades(settings, trade("2026-03-01T12:01") | {"side": "BUY"})
    publish_as_run(settings, MINUTE, *minutes, ETH)
    sums: dict[str, Any] = {
        "volume": Decimal(4),
        "trade_count": 2,
        "quote_volume": Decimal(4),
        "taker_buy_volume": Decimal(4),
        "taker_buy_quote_volume": Decimal(4),
        "last_trade_at": at("2026-03-01T12:01"),
    }
    five = measured(FIVE_MINUTES, "2026-03-01T12:00", **(sums | values))
    publish_as_run(settings, FIVE_MINUTES, five, measured(FIVE_MINUTES, "2026-03-01T12:00", "ETH"))
    findings = validate(settings, FIVE_MINUTES, SPAN).findings
    return [(each.rule, each.stored, each.expected) for each in findings if each.rule.endswith("_the_smaller")]


MINUTES = [measured(MINUTE, "2026-03-01T12:00"), measured(MINUTE, "2026-03-01T12:01")]


@pytest.mark.parametrize(
    ("name", "value", "stored", "combined"),
    [
        ("quote_volume", Decimal(5), "5.0000000000000000", "4.0000000000000000"),
        ("taker_buy_volume", Decimal(5), "5.00000000", "4.00000000"),
        ("taker_buy_quote_volume", None, "NULL", "4.0000000000000000"),
        ("first_trade_at", at("2026-03-01T12:01"), "2026-03-01T12:01:00.000000Z", "2026-03-01T12:00:00.000000Z"),
        ("last_trade_at", at("2026-03-01T12:00"), "2026-03-01T12:00:00.000000Z", "2026-03-01T12:01:00.000000Z"),
    ],
)
def test_measures_match_the_finer_timeframe(
    extended: Settings, name: str, value: object, stored: str, combined: str
) -> None:
    assert finer_findings(extended, MINUTES, **{name: value}) == [
        ("measures_agree_with_the_smaller", f"{name} {stored}", f"{combined} in 1m")
    ]


@pytest.mark.parametrize(
    ("minutes", "values"),
    [
        pytest.param(MINUTES, {}, id="equal"),
        pytest.param(
            [MINUTES[0], MINUTES[1] | WITHOUT], {"quote_volume": Decimal(5)}, id="a finer candle is not filled"
        ),
        pytest.param(MINUTES, WITHOUT, id="the candle is not filled"),
    ],
)
def test_only_measures_that_all_candles_have_are_compared(
    extended: Settings, minutes: list[Row], values: dict[str, Any]
) -> None:
    assert finer_findings(extended, minutes, **values) == []


def test_sums_of_finer_measures_do_not_overflow(extended: Settings) -> None:
    largest = Decimal("9999999999999999999999.9999999999999999")
    minutes = [each | {"quote_volume": largest} for each in MINUTES]
    assert finer_findings(extended, minutes) == [
        ("measures_agree_with_the_smaller", "quote_volume 4.0000000000000000", "NULL in 1m")
    ]


def test_measures_are_not_compared_with_a_table_that_has_none(settings: Settings) -> None:
    extend(settings, candles_contract(FIVE_MINUTES))
    add_trades(settings, *(trade("2026-03-01T12:00", symbol=each) | {"side": "BUY"} for each in ("BTC", "ETH")))
    assert finer_findings(settings, MINUTES, quote_volume=Decimal(5)) == []
