"""Rules of identity, version, order and amounts of trades: each series or minute holds one edge case."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from pyspark.sql import SparkSession

from ohlcv.config.execution import ENGINES, NATIVE_PROPERTY
from ohlcv.model.intervals import MICROSECOND, to_microseconds
from spark_jobs.runtime.session import code_generation_for
from support.computed_candles import job_result
from support.harness import at, trade
from support.reference_model import Candle, ReferenceResult, Trade, reference_candles
from support.strategies import MAX_AMOUNT, MIN_AMOUNT

NOON = at("2026-03-01 12:00")
LATER = NOON + timedelta(hours=1)
LAST_MICROSECOND = LATER - MICROSECOND
HOUR = (to_microseconds(NOON), to_microseconds(LATER))
DAY = (to_microseconds(at("2026-03-01")), to_microseconds(at("2026-03-02")))
# Numbers that 31, 32, 63 or 64 bits cannot hold.
TOO_LONG = (2**31, 2**32, 2**63, 2**64)

# Pairs of values of the columns that order versions, in the order of these columns. The second value is newer.
VERSION_PAIRS: dict[str, list[tuple[Any, Any]]] = {
    "ingestion_timestamp": [(None, -1), (1, 2)],
    "platform_sequence": [(None, -1), (1, 2)],
    "message_id": [(None, ""), ("10", "9"), ("B", "a"), ("\N{REPLACEMENT CHARACTER}", "\N{GRINNING FACE}")],
    "timestamp": [(to_microseconds(NOON), to_microseconds(NOON) + 1)],
    "source_sequence": [(None, -1), (1, 2)],
    "price": [(Decimal(9), Decimal(10))],
    "quantity": [(Decimal(9), Decimal(10))],
}
# An id that orders the trades of its series, and one that does not.
IDS_OF_VERSIONS = ("7", "seven")

# Trade ids and message ids of trades that are all different.
DIFFERENT_IDS: dict[str, list[tuple[str | None, str]]] = {
    "zeros": [("10", "m"), ("010", "m"), ("0010", "m")],
    "signs and spaces": [("10", "m"), ("+10", "m"), ("-10", "m"), ("10 ", "m"), (" 10", "m"), ("10.0", "m")],
    "case": [("a1", "m"), ("A1", "m")],
    "equal numbers": [("10", "m"), (None, "10")],
    "trade and message": [("10", "m"), (None, "10"), ("a", "m"), (None, "a"), ("", "m"), (None, "")],
    "long numbers": [(str(5 + number), "m") for number in (0, *TOO_LONG)],
}
# Symbols and exchanges that are equal when joined.
SPLIT_NAMES = (("a", "b c"), ("a b", "c"))

# Ids, or pairs of id and source sequence, of trades with equal timestamps, in the order of the trades.
ORDERED_IDS: dict[str, list[str | tuple[str, int | None]]] = {
    "around 2^31": [str(2**31 + number) for number in (-2, -1, 0, 1)],
    "from 2^31": [str(2**31 + number) for number in (0, 1, 2)],
    "around 2^32": [str(2**32 + number) for number in (-1, 0, 1)],
    "up to 2^63-1": [str(2**63 - number) for number in (3, 2, 1)],
    "around 2^63": [str(2**63 + number) for number in (-2, -1, 0, 1)],
    "longer": [str(2**63), "1" + "0" * 19, "9" * 25, "1" + "0" * 39, "9" * 40],
    "equal lower bits": [str(5 + number) for number in (0, *TOO_LONG)],
    "reversed lower bits": ["9", str(8 + 2**31), str(7 + 2**32), str(6 + 2**63), str(5 + 2**64)],
    "numbers before texts": ["9", "010", "10", "+1", "a"],
    "no sequences": ["1", "9", "10"],
    "null sequences first": [("9", None), ("10", None), ("2", -5), ("1", -4)],
    "null sequence before a constant offset": [("9", None), ("1", 11), ("2", 12)],
    "constant offset": [("1", 11), ("9", 19), ("10", 20)],
    "sequences against ids": [("10", 1), ("9", 2), ("1", 3)],
    "equal sequences": [("1", 7), ("9", 7), ("10", 7)],
    "extreme sequences": [("3", -(2**63)), ("2", 0), ("1", 2**63 - 1)],
}
# Positions of the trades that are delivered twice.
DELIVERED_TWICE: dict[str, tuple[int, ...]] = {
    "each once": (),
    "the first": (0,),
    "the second": (1,),
    "all": (0, 1, 2, 3, 4),
}


def delivered_versions(column: str, number: int, trade_id: str) -> list[Trade]:
    """Return two versions of a trade, the newer one last.

    They are equal in the columns before this one. In the columns after it the older version has the larger value.
    """
    names = list(VERSION_PAIRS)
    position = names.index(column)
    first = trade(NOON, trade_id=trade_id, symbol=f"{column} {number}", exchange=f"versions of {trade_id}")
    before = {name: VERSION_PAIRS[name][-1][0] for name in names[:position]}
    older, newer = (
        {column: value, **{name: VERSION_PAIRS[name][-1][end] for name in names[position + 1 :]}}
        for value, end in zip(VERSION_PAIRS[column][number], (1, 0), strict=True)
    )
    return [replace(first, **before, **older), replace(first, **before, **newer)]


VERSIONS = [
    delivered_versions(column, number, trade_id)
    for column, pairs in VERSION_PAIRS.items()
    for number in range(len(pairs))
    for trade_id in IDS_OF_VERSIONS
]


def different_trades() -> Iterator[Trade]:
    for symbol, ids in DIFFERENT_IDS.items():
        for number, (trade_id, message_id) in enumerate(ids):
            for exchange, twice in {"once": False, "twice": True, "second twice": number == 1}.items():
                one = trade(NOON, "1", trade_id=trade_id, message_id=message_id, symbol=symbol, exchange=exchange)
                yield from (one, replace(one, price=Decimal(2))) if twice else (one,)
    yield from (trade(NOON, trade_id="1", symbol=symbol, exchange=exchange) for symbol, exchange in SPLIT_NAMES)


def ordered_trades() -> Iterator[Trade]:
    """Yield trades of the last microsecond of the hour. The first costs 5, the last 4, the others more or less."""
    for symbol, ids in ORDERED_IDS.items():
        prices = ["5", *("1", "9", "1")[: len(ids) - 2], "4"]
        for exchange, twice in DELIVERED_TWICE.items():
            for number, (each, price) in enumerate(zip(ids, prices, strict=True)):
                trade_id, sequence = (each, None) if isinstance(each, str) else each
                one = trade(
                    LAST_MICROSECOND, price, trade_id=trade_id, sequence=sequence, symbol=symbol, exchange=exchange
                )
                yield one
                if number in twice:
                    yield replace(one, price=Decimal(99), ingestion_timestamp=1)


def tied_trades() -> Iterator[Trade]:
    """Yield trades that are ordered only by their prices: the trade id of one is the message id of the other."""
    for symbol, prices in {"different prices": ("2", "1"), "equal prices": ("3", "3")}.items():
        for trade_id, price in zip(("10", None), prices, strict=True):
            yield trade(NOON, price, trade_id=trade_id, message_id="10", symbol=symbol, exchange="ties")


def rejected_versions() -> Iterator[Trade]:
    """Yield trades that cost 5, each in a minute of its own, with newer versions that are rejected."""
    defects: list[list[dict[str, Any]]] = [
        [{"price": None}, {"price": Decimal(0)}],
        [{"quantity": Decimal(-1)}],
        [{"timestamp": to_microseconds(LATER)}],
        [{"symbol": None}],
    ]
    for minute, changes in enumerate(defects):
        valid = trade(NOON + timedelta(minutes=minute), "5", trade_id=str(minute), exchange="rejected")
        older = replace(valid, price=Decimal(4), ingestion_timestamp=1)
        newer = replace(valid, price=Decimal(6), ingestion_timestamp=to_microseconds(LATER))
        yield from (valid, *[older][: minute % 2], *(replace(newer, **change) for change in changes))
    only_rejected = replace(trade(NOON + timedelta(minutes=9), exchange="rejected"), quantity=None)
    yield from (only_rejected, only_rejected)


def trades_with_quantities(exchange: str, price: Decimal, series: Mapping[str, tuple[str, ...]]) -> Iterator[Trade]:
    """Yield trades of each series with these quantities. The first has this price, the second twice this price."""
    for symbol, quantities in series.items():
        for number, quantity in enumerate(quantities, start=1):
            yield trade(NOON, price * number, quantity, trade_id=str(number), symbol=symbol, exchange=exchange)


def rounded_trades() -> Iterator[Trade]:
    """Yield trades whose vwap lies at or just below the middle of the smallest two amounts."""
    yield from trades_with_quantities(
        "rounded",
        MIN_AMOUNT,
        {
            "half": ("1", "1"),
            "below half": ("0.50000001", "0.5"),
            "just below half": ("5000000000", "4999999999.99999999"),
        },
    )


def trades_of_volumes() -> Iterator[Trade]:
    """Yield trades whose volume is the largest that fits the column, and the smallest that does not."""
    volumes = {"fits": ("5000000000", "4999999999.99999999"), "does not fit": ("5000000000", "5000000000")}
    yield from trades_with_quantities("volumes", Decimal(1), volumes)


TRADES = [
    *(version for older, newer in VERSIONS for version in (older, newer, older, newer)),
    *different_trades(),
    *ordered_trades(),
    *tied_trades(),
    *rejected_versions(),
    *rounded_trades(),
    *trades_of_volumes(),
]


@pytest.fixture(params=ENGINES, scope="module")
def spark(spark: SparkSession, request: pytest.FixtureRequest) -> SparkSession:
    """Return a session of each engine."""
    session = spark.newSession()
    session.conf.set(NATIVE_PROPERTY, str(request.param == "native").lower())
    return session


@cache
def computed(spark: SparkSession) -> ReferenceResult:
    """Return the candles of all trades above. They are computed once, because a query takes seconds."""
    with code_generation_for(spark, 0):
        return job_result(spark, random.Random(1).sample(TRADES, len(TRADES)), "1m", [HOUR])


def candles_of(spark: SparkSession, exchange: str) -> dict[str, Candle]:
    """Return the candles of an exchange by symbol; each symbol has one."""
    candles = [candle for candle in computed(spark).candles.values() if candle.exchange == exchange]
    assert len({candle.symbol for candle in candles}) == len(candles)
    return {candle.symbol: candle for candle in candles}


def test_every_edge_case_equals_the_reference_model(spark: SparkSession) -> None:
    assert computed(spark) == reference_candles(TRADES, 60_000_000, [HOUR])


def test_the_first_column_that_differs_decides_between_versions_and_null_is_oldest(spark: SparkSession) -> None:
    for _, newer in VERSIONS:
        candle = candles_of(spark, str(newer.exchange))[str(newer.symbol)]
        assert (candle.trade_count, candle.open, candle.volume) == (1, newer.price, newer.quantity), newer.symbol


def test_an_identity_is_a_text_of_a_trade_or_of_a_message(spark: SparkSession) -> None:
    for exchange in ("once", "twice", "second twice"):
        counts = {symbol: candle.trade_count for symbol, candle in candles_of(spark, exchange).items()}
        assert counts == {symbol: len(ids) for symbol, ids in DIFFERENT_IDS.items()}
    for symbol, exchange in SPLIT_NAMES:
        assert candles_of(spark, exchange)[symbol].trade_count == 1


@pytest.mark.parametrize("exchange", DELIVERED_TWICE, ids=lambda name: name.replace(" ", "-"))
def test_ids_of_any_length_and_sequences_order_trades_of_one_microsecond(spark: SparkSession, exchange: str) -> None:
    prices = {symbol: [candle.open, candle.close] for symbol, candle in candles_of(spark, exchange).items()}
    assert prices == {symbol: [5, 4] for symbol in ORDERED_IDS}


def test_trades_that_nothing_else_orders_are_ordered_by_price(spark: SparkSession) -> None:
    prices = {symbol: [each.trade_count, each.open, each.close] for symbol, each in candles_of(spark, "ties").items()}
    assert prices == {"different prices": [2, 1, 2], "equal prices": [2, 3, 3]}


def test_a_rejected_version_neither_supersedes_nor_counts(spark: SparkSession) -> None:
    candles = [candle for candle in computed(spark).candles.values() if candle.exchange == "rejected"]
    assert [[candle.trade_count, candle.open, candle.close] for candle in candles] == 4 * [[1, 5, 5]]
    assert computed(spark).rejected == {"bad_price": 2, "bad_quantity": 3, "wrong_partition": 1, "null_key": 1}


def test_vwap_is_rounded_half_up_once(spark: SparkSession) -> None:
    vwaps = {symbol: candle.vwap / MIN_AMOUNT for symbol, candle in candles_of(spark, "rounded").items()}
    assert vwaps == {"half": 2, "below half": 1, "just below half": 1}


def test_the_largest_volume_is_written_and_the_next_one_is_withheld(spark: SparkSession) -> None:
    assert {symbol: each.volume for symbol, each in candles_of(spark, "volumes").items()} == {"fits": MAX_AMOUNT}
    assert {key[0]: volume for key, volume in computed(spark).withheld.items()} == {"does not fit": 10**10}


def test_a_notional_beyond_38_digits_withholds_only_its_candle(spark: SparkSession) -> None:
    # A hundred of the largest notionals have 38 digits. The day is merged from hours, an hour from its deliveries.
    times = {
        "100": 100 * [NOON],
        "101": 101 * [NOON],
        "in two hours": [*(60 * [NOON]), *(60 * [LATER])],
        "in the first hour": [*(101 * [NOON]), LATER],
    }
    trades = [
        trade(time, MAX_AMOUNT, MAX_AMOUNT, trade_id=str(number), symbol=symbol, exchange=exchange)
        for symbol, each in times.items()
        for exchange in ("once", "half twice")
        for number, time in enumerate(each)
        for _ in range(1 + (exchange == "half twice" and number % 2))
    ]
    with code_generation_for(spark, 0):
        found = job_result(spark, trades, "1d", [DAY], wide=True)
    expected = reference_candles(trades, 86_400_000_000, [DAY], amount_limit=None).candles
    fits = {key for key in expected if key[0] == "100"}
    assert found.candles == {key: expected[key] for key in fits}
    assert found.withheld == {key: candle.volume for key, candle in expected.items() if key not in fits}
    assert {candle.vwap for candle in found.candles.values()} == {MAX_AMOUNT}
