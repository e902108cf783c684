"""The recomputed measures equal those of the reference model, and the side is read only for them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.ingest.formats import TRADE_SCHEMA
from ohlcv.model.intervals import HOUR, MICROSECOND, Range, to_microseconds
from ohlcv.model.table_contracts import MEASURES
from ohlcv.model.timeframes import TIMEFRAMES, Timeframe
from ohlcv.quality.recomputation import Recomputation, common_step
from ohlcv.readers.trades import TradesTable
from support.audited_tables import add_trades, trade
from support.candle_rows import MINUTE, at
from support.default_tables import TRADES
from support.mapped_trades import SHAPES, Shape, append_rows, mapped_settings, random_rows, reference_trades
from support.measured_candles import (
    NOON,
    ONE,
    source,
)
from support.reference_model import Measures, Trade, reference_measures
from support.strategies import DEFECTS, MAX_AMOUNT, with_defect

SPAN = Range(NOON, ONE)
START = at("2026-03-01T22:00")
SPANS = [Range(START, START + 4 * HOUR)]
# Trades at a time: with one, every hour is a chunk.
CHUNKS = (1, 10**6)

Found = dict[tuple[str, str, int], tuple[Any, ...]]


def recomputed(recomputation: Recomputation, timeframe: Timeframe, ranges: list[Range]) -> Found:
    recomputation.create_expected(timeframe, ranges)
    rows = recomputation.connection.execute(
        f"SELECT symbol, exchange, window_start, {', '.join(MEASURES)} FROM expected"
    ).fetchall()
    return {row[:3]: row[3:] for row in rows}


def expected(trades: list[Trade], timeframe: Timeframe, ranges: list[Range], *, every_row: bool = False) -> Found:
    bounds = [(to_microseconds(each.start), to_microseconds(each.end)) for each in ranges]
    found = reference_measures(trades, timeframe.microseconds, bounds, every_row=every_row)
    return {key: units(each) for key, each in found.items()}


def units(measures: Measures) -> tuple[Any, ...]:
    def whole(value: Decimal | None, places: int) -> int | None:
        return None if value is None else int(Fraction(value) * 10**places)

    return (
        whole(measures.quote_volume, 16),
        whole(measures.taker_buy_volume, 8),
        whole(measures.taker_buy_quote_volume, 16),
        measures.first_trade_at,
        measures.last_trade_at,
    )


def random_trades(chance: random.Random) -> list[Trade]:
    """Return trades with equal times, repeated deliveries, corrections of any value, and missing sides."""
    trades = []
    for number in range(150):
        time = START + chance.randrange(4 * 60) * timedelta(minutes=1) + chance.choice((0, 1, 59_999_999)) * MICROSECOND
        first = Trade(
            message_id=f"m {number}",
            trade_id=chance.choice((None, str(number))),
            symbol=chance.choice(("BTC", "ETH")),
            exchange="X",
            timestamp=to_microseconds(time),
            price=Decimal(f"{chance.randrange(1, 10**18)}E-8"),
            quantity=Decimal(chance.choice(("1E-8", "2", "9999999.99999999"))),
            source_sequence=chance.randrange(5),
            ingestion_timestamp=chance.randrange(9),
            platform_sequence=None,
            exchange_date=time.date(),
            exchange_hour=time.hour,
            side=chance.choice(("BUY", "SELL") * 9 + (None, "buy", "")),
        )
        corrected = replace(first, price=Decimal(chance.randrange(1, 10)), ingestion_timestamp=chance.randrange(9))
        # Only the side orders these versions.
        sides = [replace(first, side=chance.choice(("BUY", "SELL", "Z", None))) for _ in range(2)]
        rejected = with_defect(first, chance.choice(DEFECTS))
        trades += [first, *chance.choices((first, corrected, rejected, *sides), k=3)]
    chance.shuffle(trades)
    return trades


def append(settings: Settings, trades: list[Trade]) -> None:
    rows = [
        {name: getattr(each, name) for name in Trade.__dataclass_fields__ if name != "amount_fault"} for each in trades
    ]
    load_table(open_catalog(settings), TRADES).append(pa.Table.from_pylist(rows, schema=TRADE_SCHEMA))


@pytest.mark.parametrize("max_rows", CHUNKS)
@pytest.mark.parametrize("seed", [1, 2])
def test_measures_equal_those_of_the_reference_model(settings: Settings, seed: int, max_rows: int) -> None:
    trades = random_trades(random.Random(seed))
    append(settings, trades[:300])
    append(settings, trades[300:])
    days = [Range(at("2026-03-01T00:00"), at("2026-03-03T00:00"))]
    with Recomputation(days, common_step(TIMEFRAMES.values()), "512m", measures=True) as recomputation:
        recomputation.run(source(settings), None, max_rows)
        for timeframe in TIMEFRAMES.values():
            found = recomputed(recomputation, timeframe, days)
            assert found == expected(trades, timeframe, days)
        buys = [each[1] for each in recomputed(recomputation, MINUTE, days).values()]
    assert {each and bool(each) for each in buys} == {None, 0, True}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_measures_of_mapped_tables_equal_those_of_the_reference_model(tmp_path: Path, shape: Shape) -> None:
    settings = mapped_settings(tmp_path, shape)
    mapping = settings.trades_mapping
    rows = random_rows(mapping, shape, random.Random(5), START, 4)
    append_rows(load_table(open_catalog(settings), settings.trades_contract), rows)
    with Recomputation(SPANS, common_step([MINUTE]), measures=True) as recomputation:
        recomputation.run(source(settings), None)
        found = recomputed(recomputation, MINUTE, SPANS)
    assert found == expected(reference_trades(rows, mapping), MINUTE, SPANS, every_row=mapping.every_row)
    assert {each[1] is None for each in found.values()} == {True, False}


@pytest.mark.parametrize("count", [100, 101, 300])
def test_a_notional_of_more_than_38_digits_has_no_measures(settings: Settings, count: int) -> None:
    rows = [trade("2026-03-01T12:00") | {"price": MAX_AMOUNT, "quantity": MAX_AMOUNT, "side": "BUY"}] * count
    add_trades(settings, *(row | {"message_id": str(number)} for number, row in enumerate(rows)))
    with Recomputation([SPAN], common_step([MINUTE]), measures=True) as recomputation:
        recomputation.run(source(settings), None)
        (found,) = recomputed(recomputation, MINUTE, [SPAN]).values()
    notional = count * (10**18 - 1) ** 2
    assert found[:3] == ((notional, count * (10**18 - 1), notional) if count == 100 else (None, None, None))


@pytest.mark.parametrize("measures", [False, True])
def test_the_side_is_read_only_for_measures(
    settings: Settings, measures: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_trades(settings, trade("2026-03-01T12:00"))
    columns: list[str] = []
    add_chunk = Recomputation.add_chunk

    def recorded(self: Recomputation, trades: TradesTable, hours: Any, tables: Any) -> None:
        def read() -> Iterator[pa.Table]:
            for table in tables:
                columns.extend(table.column_names)
                yield table

        add_chunk(self, trades, hours, read())

    monkeypatch.setattr(Recomputation, "add_chunk", recorded)
    with Recomputation([SPAN], common_step([MINUTE]), measures=measures) as recomputation:
        recomputation.run(source(settings), None)
    assert ("side" in columns) is measures
    assert "price" in columns
