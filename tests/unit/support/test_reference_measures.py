"""Reference model of measures: each rule once, with numbers that can be checked by hand."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from support.reference_model import Measures, Trade, reference_measures

SECOND = 1_000_000
MINUTE = 60 * SECOND
# 2026-01-31 23:00:00 UTC.
START = 1_769_900_400 * SECOND


def trade(
    trade_id: str = "1",
    at: int = 0,
    price: str = "1",
    quantity: str = "1",
    *,
    side: str | None = None,
    ingested: int | None = None,
) -> Trade:
    """Return a trade of 31 January, `at` microseconds after 23:00."""
    return Trade(
        message_id="m",
        trade_id=trade_id,
        symbol="BTC-USD",
        exchange="KRAKEN",
        timestamp=START + at,
        price=Decimal(price),
        quantity=Decimal(quantity),
        source_sequence=None,
        ingestion_timestamp=ingested,
        platform_sequence=None,
        exchange_date=date(2026, 1, 31),
        exchange_hour=23,
        side=side,
    )


def only_measures(*trades: Trade) -> Measures:
    (measures,) = reference_measures(trades, MINUTE, [(START, START + MINUTE)]).values()
    return measures


def test_every_measure_of_a_candle() -> None:
    measures = only_measures(
        trade("1", 30 * SECOND, "100", "1", side="BUY"),
        trade("2", 10 * SECOND, "90.5", "2", side="SELL"),
        trade("3", 20 * SECOND, "0.00000001", "0.00000001", side="BUY"),
    )
    assert measures == Measures(
        quote_volume=Decimal("281.0000000000000001"),
        taker_buy_volume=Decimal("1.00000001"),
        taker_buy_quote_volume=Decimal("100.0000000000000001"),
        first_trade_at=START + 10 * SECOND,
        last_trade_at=START + 30 * SECOND,
    )


@pytest.mark.parametrize("side", [None, "", "buy", "sell", " BUY", "B"])
def test_taker_volumes_are_unknown_if_a_trade_has_no_side(side: str | None) -> None:
    measures = only_measures(trade("1", side="BUY"), trade("2", side=side))
    assert measures.taker_buy_volume is measures.taker_buy_quote_volume is None
    assert measures.quote_volume == Decimal(2)


def test_taker_volumes_are_zero_if_all_trades_are_sales() -> None:
    measures = only_measures(trade("1", side="SELL"))
    assert measures.taker_buy_volume == measures.taker_buy_quote_volume == Decimal(0)


def test_measures_are_those_of_the_latest_versions() -> None:
    first, second = trade("1", side="BUY", ingested=1), trade("1", 5, "2", "3", side="SELL", ingested=2)
    invalid = trade("2", 7, price="0", side="BUY")
    assert only_measures(first, second, invalid) == Measures(Decimal(6), Decimal(0), Decimal(0), START + 5, START + 5)


@pytest.mark.parametrize(("older", "newer"), [(None, ""), ("", "BUY"), ("BUY", "SELL"), ("SELL", "buy")])
def test_side_decides_last_between_versions(older: str | None, newer: str | None) -> None:
    found = only_measures(trade(side=newer))
    for sides in ((older, newer), (newer, older)):
        assert only_measures(*(trade(side=side) for side in sides)) == found
    assert only_measures(trade(price="1", side=newer), trade(price="2", side=older)).quote_volume == Decimal(2)
