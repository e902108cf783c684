"""Trades tables of other shapes: their mappings, seeded rows, and the rules of a mapping in plain Python."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import (
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestampType,
    TimestamptzType,
)

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, open_catalog
from ohlcv.model.intervals import EPOCH, MICROSECOND
from ohlcv.model.trade_mapping import Source, TradeMapping
from ohlcv.readers.mapped_columns import projection
from support.reference_model import EPOCH_DATE, HOUR_MICROSECONDS, Trade

Row = dict[str, Any]
NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
STEP = Decimal("1e-8")
# Every double, rounded to steps, has fewer digits.
CONTEXT = Context(prec=400)
LIMIT = Decimal(10**10)


@dataclass(frozen=True)
class Shape:
    """A trades table of another shape."""

    mapping: str
    columns: Mapping[str, IcebergType]
    # Columns of an identity partition.
    partitions: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)


SHAPES = {
    # Partitions of this form are usual, but only Spark writes them: hour(ts), day(ts).
    "timestamps and doubles": Shape(
        """
        timestamp: ts
        price: px
        quantity: qty
        symbol: pair
        exchange: {value: kraken}
        trade_id: id
        ingestion_timestamp: {column: received.ms, unit: ms}
        side: {column: is_buyer_maker, buy: false, sell: true}
        filters:
          - {column: kind, in: [trade, block]}
          - {column: deleted, is: null}
        """,
        {
            "ts": TimestamptzType(),
            "px": DoubleType(),
            "qty": DoubleType(),
            "pair": StringType(),
            "id": LongType(),
            "received.ms": LongType(),
            "is_buyer_maker": BooleanType(),
            "kind": StringType(),
            "deleted": TimestampType(),
        },
    ),
    "date and hour under other names": Shape(
        """
        timestamp: {column: "time of trade", unit: ms}
        price: price
        quantity: amount
        symbol: {column: symbol}
        exchange: venue
        message_id: uid
        source_sequence: seq
        platform_sequence: offset
        side: {column: taker, buy: "1", sell: "2"}
        exchange_date: dt
        exchange_hour: hr
        """,
        {
            "time of trade": LongType(),
            "price": DecimalType(38, 18),
            "amount": DecimalType(20, 4),
            "symbol": StringType(),
            "venue": StringType(),
            "uid": StringType(),
            "seq": IntegerType(),
            "offset": LongType(),
            "taker": StringType(),
            "dt": DateType(),
            "hr": IntegerType(),
        },
        partitions=("dt", "hr"),
    ),
    "nanoseconds without ids": Shape(
        """
        timestamp: {column: ns, unit: ns}
        price: quantity
        quantity: price
        symbol: {value: BTC-USD}
        exchange: exchange
        source_sequence: seq
        side: {column: direction, buy: 1, sell: -1}
        identity: every row
        """,
        {
            "ns": LongType(),
            # Names of the contract with another meaning.
            "quantity": DoubleType(),
            "price": DecimalType(18, 8),
            "exchange": StringType(),
            "seq": LongType(),
            "direction": IntegerType(),
        },
    ),
}
WITHOUT_BOUNDS = {"write.metadata.metrics.default": "none"}


def mapped_settings(folder: Path, shape: Shape) -> Settings:
    """Return settings with a mapping, an empty trades table of that shape, and empty candle tables."""
    folder.mkdir(exist_ok=True)
    file = folder / "mapping.yaml"
    file.write_text(shape.mapping)
    settings = load_settings({"OHLCV_HOME": str(folder / "home"), "OHLCV_TRADES_MAPPING": str(file)})
    catalog = open_catalog(settings)
    catalog.create_namespace(settings.names.trades[:-1])
    fields = [
        NestedField(number, name, kind, required=False) for number, (name, kind) in enumerate(shape.columns.items(), 1)
    ]
    ids = {each.name: each.field_id for each in fields}
    spec = PartitionSpec(
        *(PartitionField(ids[name], 1000 + ids[name], IdentityTransform(), name) for name in shape.partitions)
    )
    catalog.create_table(settings.names.trades, Schema(*fields), partition_spec=spec, properties=dict(shape.properties))
    create_tables(settings)
    return settings


def append_rows(table: Table, rows: Iterable[Row]) -> None:
    """Append rows in one commit."""
    table.append(pa.Table.from_pylist(list(rows), schema=table.schema().as_arrow()))


def project(rows: pa.Table, mapping: TradeMapping, kinds: Mapping[str, str], *, with_side: bool = False) -> pa.Table:
    """Return the columns of the contract as the readers compute them from the source columns."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("source", rows)
        return connection.sql(projection(mapping, kinds, "source", with_side=with_side)).to_arrow_table()


def random_rows(mapping: TradeMapping, shape: Shape, chance: random.Random, start: datetime, hours: int) -> list[Row]:
    """Return rows with ties, repeated deliveries, corrections, invalid and excluded rows."""
    rows = []
    for _ in range(100):
        row = _random_row(mapping, shape, chance, start, hours)
        rows += [row, row]
        for name in ("price", "quantity", "ingestion_timestamp", "symbol", "trade_id", "exchange_hour"):
            column = mapping.sources.get(name, Source()).column
            if column is not None and chance.random() < 0.3:
                rows.append(row | {column: _random_value(shape.columns[column], chance, invalid=True)})
        source = mapping.sources.get("side", Source())
        if chance.random() < 0.3:
            # A version that differs only in its side.
            rows.append(row | {str(source.column): chance.choice((source.buy, source.sell, None))})
        for condition in mapping.filters:
            if chance.random() < 0.3:
                rows.append(row | {condition.column: EPOCH if condition.operator == "is null" else "other"})
    chance.shuffle(rows)
    return rows


def _random_row(mapping: TradeMapping, shape: Shape, chance: random.Random, start: datetime, hours: int) -> Row:
    row = {name: _random_value(kind, chance, invalid=False) for name, kind in shape.columns.items()}
    # Some nanoseconds before and after a microsecond, a minute and an hour.
    nanoseconds = (start - EPOCH) // MICROSECOND * 1000
    nanoseconds += chance.randrange(hours * 60) * 60 * 10**9 + chance.choice((0, 1, 999, 1_000, 59_999_999_999))
    row |= _stored_time(mapping.sources["timestamp"], nanoseconds)
    if mapping.has_hours:
        hour = nanoseconds // (HOUR_MICROSECONDS * 1000)
        row |= {
            str(mapping.sources["exchange_date"].column): EPOCH_DATE + timedelta(days=hour // 24),
            str(mapping.sources["exchange_hour"].column): hour % 24,
        }
    for condition in mapping.filters:
        row[condition.column] = chance.choice(condition.values) if condition.values else None
    source = mapping.sources.get("side", Source())
    row[str(source.column)] = chance.choice((source.buy, source.sell) * 9 + (None,))
    for name in ("symbol", "exchange"):
        if column := mapping.sources[name].column:
            row[column] = chance.choice(("A", "B"))
    return row


def _stored_time(source: Source, nanoseconds: int) -> Row:
    if source.unit is None:
        return {str(source.column): EPOCH + nanoseconds // 1000 * MICROSECOND}
    return {str(source.column): nanoseconds // NANOSECONDS[source.unit]}


def _random_value(kind: IcebergType, chance: random.Random, *, invalid: bool) -> Any:
    if invalid and chance.random() < 0.3:
        return None
    if isinstance(kind, DoubleType):
        return _random_double(chance, invalid=invalid)
    if isinstance(kind, DecimalType):
        return _random_decimal(kind, chance, invalid=invalid)
    if isinstance(kind, TimestampType | TimestamptzType | DateType):
        return EPOCH
    if isinstance(kind, BooleanType):
        return chance.random() < 0.5
    number = chance.randrange(50)
    return str(number) if isinstance(kind, StringType) else number


def _random_double(chance: random.Random, *, invalid: bool) -> float:
    if invalid:
        return chance.choice((math.nan, math.inf, -math.inf, -1.5, 0.0, 4e-9, 1e10, 1e300))
    return chance.choice((chance.uniform(0, 10), 10 ** chance.uniform(-8, 5), chance.randrange(10**9) / 1e9 + 5e-9))


def _random_decimal(kind: DecimalType, chance: random.Random, *, invalid: bool) -> Decimal:
    if not invalid:
        return Decimal(f"{chance.randrange(1, 10 ** (4 + kind.scale))}E-{kind.scale}")
    digits = 10**kind.precision - 1
    largest, smallest = Decimal(f"{digits}E-{kind.scale}"), Decimal(f"-{digits}E-{kind.scale}")
    return chance.choice((Decimal(0), Decimal(-1), smallest, largest if largest >= LIMIT else Decimal(-2)))


def reference_trades(rows: Iterable[Row], mapping: TradeMapping) -> list[Trade]:
    """Return the trades of a mapping, by the rules of `model.trade_mapping` in plain Python."""
    return [_reference_trade(row, mapping) for row in rows if _is_trade(row, mapping)]


def _is_trade(row: Row, mapping: TradeMapping) -> bool:
    for condition in mapping.filters:
        value = row[condition.column]
        if condition.operator == "is null":
            accepted = value is None
        elif condition.operator == "is not null":
            accepted = value is not None
        else:
            accepted = value in condition.values
        if not accepted:
            return False
    return True


def _reference_trade(row: Row, mapping: TradeMapping) -> Trade:
    def value(name: str) -> Any:
        source = mapping.sources.get(name, Source())
        return source.constant if source.column is None else row[source.column]

    def identifier(name: str) -> str | None:
        found = value(name)
        return None if found is None else str(found)

    amounts = [reference_amount(value(name)) for name in ("price", "quantity")]
    timestamp = _microseconds(value("timestamp"), mapping.sources["timestamp"])
    assert timestamp is not None
    hour = timestamp // HOUR_MICROSECONDS
    if mapping.has_hours and value("exchange_hour") is not None:
        hour = (value("exchange_date") - EPOCH_DATE).days * 24 + value("exchange_hour")
    elif mapping.has_hours:
        hour = -1
    return Trade(
        message_id=identifier("message_id"),
        trade_id=identifier("trade_id"),
        symbol=value("symbol"),
        exchange=value("exchange"),
        timestamp=timestamp,
        price=amounts[0][0],
        quantity=amounts[1][0],
        source_sequence=value("source_sequence"),
        ingestion_timestamp=_microseconds(
            value("ingestion_timestamp"), mapping.sources.get("ingestion_timestamp", Source())
        ),
        platform_sequence=value("platform_sequence"),
        side=_side(value("side"), mapping.sources.get("side", Source())),
        exchange_date=EPOCH_DATE + timedelta(days=hour // 24),
        exchange_hour=hour % 24,
        amount_fault=amounts[0][1] or amounts[1][1],
    )


def _side(value: Any, source: Source) -> str | None:
    return {source.buy: "BUY", source.sell: "SELL"}.get(value)


def _microseconds(value: Any, source: Source) -> int | None:
    if isinstance(value, datetime):
        return (value - EPOCH) // MICROSECOND
    return None if value is None else int(value) * NANOSECONDS[source.unit or "us"] // 1000


def reference_amount(value: Any) -> tuple[Decimal | None, str | None]:
    """Return a price or quantity of the contract, or why there is none."""
    if value is None:
        return None, None
    if isinstance(value, float):
        if math.isnan(value):
            return None, "not_a_number"
        if math.isinf(value):
            return None, "infinite"
        value = Decimal(repr(value))
    rounded = value.quantize(STEP, ROUND_HALF_UP, CONTEXT)
    return (None, "overflow") if abs(rounded) >= LIMIT else (rounded, None)
