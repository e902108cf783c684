"""Reference model: each rule once, with numbers that can be checked by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.reference_model import (
    Candle,
    ReferenceResult,
    Trade,
    partition_hour,
    reference_candles,
)
from support.strategies import HOURS, MAX_TRADES, range_lists, trade_lists

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
# 2026-01-31 23:00:00 UTC.
START = 1_769_900_400 * SECOND
RANGE = [(START, START + HOUR)]
KEY = ("BTC-USD", "KRAKEN", START)


def trade(
    trade_id: str | None = "1",
    at: int = 0,
    price: str | None = "1",
    quantity: str | None = "1",
    *,
    message_id: str | None = "m",
    sequence: int | None = None,
    ingested: int | None = None,
    platform: int | None = None,
    hour: int = 23,
) -> Trade:
    """Return a trade of 31 January, `at` microseconds after 23:00."""
    return Trade(
        message_id=message_id,
        trade_id=trade_id,
        symbol="BTC-USD",
        exchange="KRAKEN",
        timestamp=START + at,
        price=None if price is None else Decimal(price),
        quantity=None if quantity is None else Decimal(quantity),
        source_sequence=sequence,
        ingestion_timestamp=ingested,
        platform_sequence=platform,
        exchange_date=date(2026, 1, 31),
        exchange_hour=hour,
    )


def build(*trades: Trade, window: int = MINUTE, ranges: list[tuple[int, int]] | None = None) -> ReferenceResult:
    return reference_candles(trades, window, RANGE if ranges is None else ranges)


def only_candle(*trades: Trade) -> Candle:
    (candle,) = build(*trades).candles.values()
    return candle


def open_and_close(*trades: Trade) -> tuple[Decimal, Decimal]:
    candle = only_candle(*trades)
    return candle.open, candle.close


def test_start_is_23_00_utc() -> None:
    assert datetime(2026, 1, 31, 23, tzinfo=UTC).timestamp() * SECOND == START
    assert partition_hour(trade()) * HOUR == START


def test_every_field_of_a_candle() -> None:
    result = build(
        trade("1", 10 * SECOND, "100", "1"),
        trade("2", 20 * SECOND, "90.5", "2"),
        trade("3", 30 * SECOND, "120", "0.5"),
        trade("4", 40 * SECOND, "110", "1.5"),
    )
    # 100 + 181 + 60 + 165 = 506 for 5.
    assert result.candles == {
        KEY: Candle(
            symbol="BTC-USD",
            exchange="KRAKEN",
            window_start_us=START,
            window_end_us=START + MINUTE,
            open=Decimal("100"),
            high=Decimal("120"),
            low=Decimal("90.5"),
            close=Decimal("110"),
            volume=Decimal("5"),
            trade_count=4,
            vwap=Decimal("101.2"),
        )
    }
    assert (result.withheld, result.rejected, result.trades_read) == ({}, Counter(), 4)


def test_a_window_without_trades_has_no_candle() -> None:
    assert build() == ReferenceResult({}, {}, Counter(), 0)


def test_each_symbol_and_exchange_has_its_own_candle() -> None:
    one = trade()
    result = build(one, replace(one, symbol="ETH-USD"), replace(one, exchange="COINBASE"))
    assert set(result.candles) == {KEY, ("ETH-USD", "KRAKEN", START), ("BTC-USD", "COINBASE", START)}


def test_windows_are_half_open() -> None:
    result = build(trade("1", 0), trade("2", MINUTE - 1), trade("3", MINUTE))
    assert {key[2] - START: candle.trade_count for key, candle in result.candles.items()} == {0: 2, MINUTE: 1}


def test_day_windows_start_at_midnight() -> None:
    midnight = START + HOUR
    result = build(trade("1", HOUR - 1), window=DAY, ranges=[(midnight - DAY, midnight)])
    assert list(result.candles) == [("BTC-USD", "KRAKEN", midnight - DAY)]


def test_whole_hours_are_read_but_only_windows_in_the_ranges_are_built() -> None:
    trades = [trade(str(minute), minute * MINUTE) for minute in range(4)]
    bad = trade("bad", 50 * MINUTE, price=None)
    hour_before = replace(trade("5", -1), exchange_hour=22)
    result = build(
        *trades, bad, hour_before, ranges=[(START + MINUTE, START + 2 * MINUTE), (START + 3 * MINUTE, START + HOUR)]
    )
    assert [(key[2] - START) // MINUTE for key in result.candles] == [1, 3]
    assert (result.trades_read, result.rejected) == (5, Counter(bad_price=1))


@pytest.mark.parametrize("span", [(START + 1, START + MINUTE), (START, START), (START, START + MINUTE - 1)])
def test_a_range_of_partial_windows_is_rejected(span: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="whole windows"):
        build(ranges=[span])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (replace(trade(), symbol=None), "null_key"),
        (replace(trade(), exchange=None), "null_key"),
        (replace(trade(), timestamp=None), "null_key"),
        (trade(None, message_id=None), "null_key"),
        (trade(price=None), "bad_price"),
        (trade(price="0"), "bad_price"),
        (trade(price="-1"), "bad_price"),
        (trade(quantity=None), "bad_quantity"),
        (trade(quantity="0"), "bad_quantity"),
        (trade(quantity="-0.00000001"), "bad_quantity"),
        (trade(at=-1), "wrong_partition"),
        (trade(at=HOUR), "wrong_partition"),
        (trade(at=-DAY), "wrong_partition"),
        # With two defects the first reason counts.
        (replace(trade(price=None), symbol=None), "null_key"),
        (trade(price="0", quantity="0"), "bad_price"),
        (trade(at=-1, quantity="0"), "bad_quantity"),
    ],
)
def test_an_invalid_trade_is_rejected_with_its_reason(row: Trade, reason: str) -> None:
    assert build(row) == ReferenceResult({}, {}, Counter({reason: 1}), 1)


def test_a_trade_needs_only_one_of_both_ids() -> None:
    result = build(trade("1", message_id=None), trade(None, message_id="m"))
    assert (result.candles[KEY].trade_count, result.rejected) == (2, Counter())


def test_a_row_in_a_wrong_partition_is_rejected_when_that_partition_is_read() -> None:
    misplaced = trade(hour=22)
    assert build(misplaced) == ReferenceResult({}, {}, Counter(), 0)
    hour_before = [(START - HOUR, START)]
    assert build(misplaced, ranges=hour_before) == ReferenceResult({}, {}, Counter(wrong_partition=1), 1)


def test_repeated_deliveries_of_a_trade_count_once() -> None:
    result = build(trade(), trade(), trade())
    assert (result.candles[KEY].trade_count, result.trades_read, result.rejected) == (1, 3, Counter())


def test_without_a_trade_id_the_message_id_identifies_a_trade() -> None:
    a, b = trade(None, message_id="a"), trade(None, message_id="b")
    assert only_candle(a, a, b).trade_count == 2


def test_with_a_trade_id_the_message_id_is_ignored() -> None:
    assert only_candle(trade("1", message_id="a"), trade("1", message_id="b")).trade_count == 1


def test_a_trade_id_and_an_equal_message_id_are_two_trades() -> None:
    assert only_candle(trade("7"), trade(None, message_id="7")).trade_count == 2


def test_ids_are_compared_as_text_for_identity() -> None:
    assert only_candle(trade("10"), trade("010")).trade_count == 2


def test_the_same_id_in_another_hour_is_another_trade() -> None:
    midnight = START + HOUR
    trades = [trade("1", 0), replace(trade("1", -1), exchange_hour=22)]
    result = build(*trades, window=DAY, ranges=[(midnight - DAY, midnight)])
    assert [candle.trade_count for candle in result.candles.values()] == [2]


def test_a_correction_can_move_a_trade_to_another_minute() -> None:
    result = build(trade("1", 0, "5", ingested=1), trade("1", MINUTE, "6", ingested=2))
    assert {key[2] - START: candle.open for key, candle in result.candles.items()} == {MINUTE: Decimal("6")}


def test_a_correction_that_moves_a_trade_out_of_the_range_leaves_no_candle() -> None:
    trades = [trade("1", 0, ingested=1), trade("1", MINUTE, ingested=2)]
    assert build(*trades, ranges=[(START, START + MINUTE)]).candles == {}


def test_an_invalid_correction_does_not_replace_a_valid_trade() -> None:
    result = build(trade("1", 0, "5", ingested=1), trade("1", 0, None, ingested=2))
    assert (result.candles[KEY].open, result.rejected) == (Decimal("5"), Counter(bad_price=1))


# Each pair is equal in every field before the one named; the second wins. Price 9 loses except where price decides.
@pytest.mark.parametrize(
    ("loser", "winner"),
    [
        (trade(price="9", ingested=1, platform=9), trade(price="2", ingested=2, platform=1)),
        (trade(price="9", ingested=None, platform=9), trade(price="2", ingested=-1, platform=1)),
        (trade(price="9", platform=1, message_id="z"), trade(price="2", platform=2, message_id="a")),
        (trade(price="9", platform=None, message_id="z"), trade(price="2", platform=-1, message_id="a")),
        (trade(price="9", at=5, message_id="m-10"), trade(price="2", at=1, message_id="m-9")),
        (trade(price="9", at=5, message_id=None), trade(price="2", at=1, message_id="")),
        (trade(price="9", at=1, sequence=5), trade(price="2", at=2, sequence=1)),
        (trade(price="9", sequence=1), trade(price="2", sequence=2)),
        (trade(price="9", sequence=None), trade(price="2", sequence=-1)),
        (trade(price="1", quantity="9"), trade(price="2", quantity="1")),
        (trade(price="2", quantity="1"), trade(price="2", quantity="3")),
    ],
    ids=[
        "ingestion",
        "ingestion null",
        "platform",
        "platform null",
        "message as text",
        "message null",
        "timestamp",
        "sequence",
        "sequence null",
        "price",
        "quantity",
    ],
)
def test_the_latest_version_of_a_trade_wins(loser: Trade, winner: Trade) -> None:
    for trades in ([loser, winner], [winner, loser]):
        candle = only_candle(*trades)
        assert (candle.open, candle.volume, candle.trade_count) == (winner.price, winner.quantity, 1)


# Each pair is ordered by the rule named and would have the opposite order without it.
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (trade("2", 1, "9", sequence=2), trade("1", 2, "8", sequence=1)),
        (trade("2", 0, "9", sequence=9), trade("1", 0, "8", sequence=10)),
        (trade("2", 0, "9", sequence=None), trade("1", 0, "8", sequence=-1)),
        (trade("9", 0, "9"), trade("10", 0, "8")),
        (trade("010", 0, "9"), trade("10", 0, "8")),
        (trade("10", 0, "9"), trade("011", 0, "8")),
        (trade("999", 0, "9"), trade("", 0, "8")),
        (trade("9" * 39, 0, "9"), trade("1" + "0" * 39, 0, "8")),
        (trade("99", 0, "9"), trade("-1", 0, "8")),
        # The Arabic three is a digit but not ASCII, so it is text.
        (trade("4", 0, "9"), trade("\N{ARABIC-INDIC DIGIT THREE}", 0, "8")),
        (trade("a10", 0, "9"), trade("a9", 0, "8")),
        (trade("B", 0, "9"), trade("a", 0, "8")),
        (trade("\N{REPLACEMENT CHARACTER}", 0, "9"), trade("\N{GRINNING FACE}", 0, "8")),
        (trade(None, 0, "9", message_id="9"), trade("10", 0, "8", message_id="1")),
        (trade(None, 0, "8", message_id="9"), trade("9", 0, "9")),
    ],
    ids=[
        "timestamp",
        "sequence",
        "sequence null",
        "id as number",
        "equal numbers as text",
        "number before its text",
        "numbers before text",
        "beyond 38 digits",
        "a sign is text",
        "ASCII digits",
        "id as text",
        "by code point",
        "beyond 16 bits",
        "message id without trade id",
        "price",
    ],
)
def test_trades_of_a_window_are_ordered_by_every_rule(first: Trade, second: Trade) -> None:
    assert open_and_close(first, second) == (first.price, second.price)
    assert open_and_close(second, first) == (first.price, second.price)


def test_vwap_is_rounded_half_up_once() -> None:
    # (1 + 2) / 2 steps is a tie; 4 / 3 steps goes down, 5 / 3 up.
    one, two = "0.00000001", "0.00000002"
    assert only_candle(trade("1", 0, one), trade("2", 0, two)).vwap == Decimal(two)
    assert only_candle(trade("1", 0, one), trade("2", 0, one), trade("3", 0, two)).vwap == Decimal(one)
    assert only_candle(trade("1", 0, one), trade("2", 0, two), trade("3", 0, two)).vwap == Decimal(two)
    # 2.5 steps is 3; rounding half to even would give 2.
    assert only_candle(trade("1", 0, two), trade("2", 0, "0.00000003")).vwap == Decimal("0.00000003")


def test_vwap_and_volume_are_exact_to_the_last_digit() -> None:
    most, least = "9999999999.99999999", "0.00000001"
    candle = only_candle(trade("1", 0, most, "4999999999.99999999"), trade("2", 0, least, "4999999999.99999999"))
    # Half of (10^10 - 10^-8 + 10^-8); the volume is 18 digits, the notional 36.
    assert candle.vwap == Decimal("5000000000")
    assert candle.volume == Decimal("9999999999.99999998")


def test_only_a_volume_that_does_not_fit_is_withheld() -> None:
    trades = [
        trade("1", 0, quantity="9999999999.99999999"),
        trade("2", MINUTE, quantity="9999999999.99999999"),
        trade("3", MINUTE, quantity="0.00000001"),
    ]
    result = build(*trades)
    assert {key[2] - START for key in result.candles} == {0}
    assert result.withheld == {("BTC-USD", "KRAKEN", START + MINUTE): Decimal("10000000000")}

    wide = reference_candles(trades, MINUTE, RANGE, amount_limit=None)
    assert wide.withheld == {}
    assert wide.candles["BTC-USD", "KRAKEN", START + MINUTE].volume == Decimal("10000000000")


def test_a_volume_beyond_the_default_decimal_precision_is_exact() -> None:
    many = [trade(str(number), 0, quantity="9999999999.99999999") for number in range(11)]
    assert build(*many).withheld == {KEY: Decimal("109999999999.99999989")}


def test_windows_before_the_epoch_are_aligned() -> None:
    early = replace(trade(), timestamp=-1, exchange_date=date(1969, 12, 31))
    result = build(early, ranges=[(-MINUTE, 0)])
    assert list(result.candles) == [("BTC-USD", "KRAKEN", -MINUTE)]


@settings(max_examples=60, deadline=None, database=None)
@given(data=st.data(), trades=trade_lists(), window=st.sampled_from([MINUTE, 5 * MINUTE, HOUR, DAY]))
def test_every_result_is_independent_of_order_and_repeated_deliveries(
    data: st.DataObject, trades: list[Trade], window: int
) -> None:
    assert len(trades) <= MAX_TRADES
    ranges = data.draw(range_lists(window))
    result = reference_candles(trades, window, ranges)
    assert reference_candles(data.draw(st.permutations(trades)), window, ranges) == result
    assert reference_candles([*trades, *trades], window, ranges).candles == result.candles
    assert not result.candles.keys() & result.withheld.keys()
    for candle in result.candles.values():
        assert candle.low <= min(candle.open, candle.close, candle.vwap)
        assert candle.high >= max(candle.open, candle.close, candle.vwap)
        assert 0 < candle.volume < 10**10


@settings(max_examples=60, deadline=None, database=None)
@given(trades=trade_lists(min_size=1))
def test_a_day_candle_equals_its_merged_minute_candles(trades: list[Trade]) -> None:
    start, end = min(HOURS) * HOUR // DAY * DAY, (max(HOURS) * HOUR // DAY + 1) * DAY
    minutes = reference_candles(trades, MINUTE, [(start, end)], amount_limit=None)
    days = reference_candles(trades, DAY, [(start, end)], amount_limit=None)
    assert (minutes.rejected, minutes.trades_read) == (days.rejected, days.trades_read)
    for (symbol, exchange, day), candle in days.candles.items():
        parts = [minutes.candles[key] for key in sorted(minutes.candles) if key[:2] == (symbol, exchange)]
        parts = [part for part in parts if day <= part.window_start_us < day + DAY]
        assert (candle.open, candle.close) == (parts[0].open, parts[-1].close)
        assert (candle.high, candle.low) == (max(part.high for part in parts), min(part.low for part in parts))
        assert candle.trade_count == sum(part.trade_count for part in parts)
        assert candle.volume == sum(part.volume for part in parts)
