"""Trades tables of other shapes: a harness that stores the trades of the contract in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.table import Table
from pyspark.sql import SparkSession

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import open_catalog
from ohlcv.model.intervals import from_microseconds
from support.harness import Harness, published_ids
from support.reference_model import Trade

TRADES = "market_data.gold_crypto_trades"


@dataclass(frozen=True)
class Shape:
    """Columns, partitions and mapping of a trades table, and how it stores a trade of the contract."""

    columns: str
    partitions: str
    mapping: str
    row: Callable[[Trade], dict[str, Any]]


class MappedHarness(Harness):
    """A catalog whose trades table has another shape."""

    def __init__(
        self, spark: SparkSession, home: Path, shape: Shape, environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(spark, home, environment)
        self.shape = shape
        self.sql("DROP TABLE {trades}")
        self.sql(f"CREATE TABLE {{trades}} ({shape.columns}) USING iceberg {shape.partitions}")
        mapping = home / "mapping.yaml"
        mapping.write_text(shape.mapping)
        self.settings = load_settings(
            {"OHLCV_HOME": str(home), "OHLCV_TRADES_MAPPING": str(mapping), **(environment or {})}
        )

    def trades_table(self) -> Table:
        """Return the trades table as it is."""
        return open_catalog(self.settings).load_table(TRADES)

    def load(self, *batches: Iterable[Trade]) -> None:
        """Append each batch of trades in a commit of its own."""
        for batch in batches:
            trades = list(batch)
            self.append_rows(map(self.shape.row, trades))
            self.trades += trades

    def append_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows as the table stores them, in one commit."""
        table = f"iceberg.{TRADES}"
        values = pa.Table.from_pylist([*rows], schema=self.trades_table().schema().as_arrow())
        # pyiceberg does not write partitions of hours and days.
        self.spark.createDataFrame(values, self.spark.table(table).schema).writeTo(table).append()

    def compact(self, **options: str) -> None:
        """Rewrite all files of the trades table, as its owner does."""
        chosen = ", ".join(f"'{name.replace('_', '-')}', '{value}'" for name, value in options.items())
        self.sql(
            f"CALL iceberg.system.rewrite_data_files(table => '{TRADES}', options => map('rewrite-all', 'true'"
            f"{', ' if chosen else ''}{chosen}))"
        )

    def snapshots(self, timeframe: str | None = None) -> list[int]:
        """Return the ids of a table's published snapshots, oldest first."""
        if timeframe is not None:
            return super().snapshots(timeframe)
        return published_ids(self.trades_table())


def _time(trade: Trade) -> Any:
    return None if trade.timestamp is None else from_microseconds(trade.timestamp)


# Timestamps and doubles, one file per hour and symbol.
BY_HOUR = Shape(
    columns="pair STRING, venue STRING, id STRING, ts TIMESTAMP, px DOUBLE, qty DOUBLE, seq BIGINT, loaded TIMESTAMP, "
    "maker BOOLEAN",
    partitions="PARTITIONED BY (pair, hours(ts))",
    mapping="""
timestamp: ts
price: px
quantity: qty
symbol: pair
exchange: venue
trade_id: id
source_sequence: seq
ingestion_timestamp: loaded
side: {column: maker, buy: false, sell: true}
""",
    row=lambda trade: {
        "pair": trade.symbol,
        "venue": trade.exchange,
        "id": trade.trade_id,
        "ts": _time(trade),
        "px": None if trade.price is None else float(trade.price),
        "qty": None if trade.quantity is None else float(trade.quantity),
        "seq": trade.source_sequence,
        "loaded": from_microseconds(trade.ingestion_timestamp or 0),
        "maker": {"BUY": False, "SELL": True}.get(trade.side or ""),
    },
)

# Other names and types, a file per day, and rows that are no trades.
BY_DAY = Shape(
    columns=(
        "`Trade ID` BIGINT, `select` STRING, `time of trade` TIMESTAMP_NTZ, price DECIMAL(20, 10), "
        "size DECIMAL(38, 18), `loaded.ms` BIGINT, kind STRING, deleted_at DATE, taker STRING"
    ),
    partitions="PARTITIONED BY (days(`time of trade`))",
    mapping="""
timestamp: time of trade
price: price
quantity: size
symbol: select
exchange: {value: kraken}
trade_id: Trade ID
ingestion_timestamp: {column: loaded.ms, unit: ms}
side: {column: taker, buy: bid, sell: ask}
filters:
  - {column: kind, in: [trade, block]}
  - {column: deleted_at, is: null}
""",
    row=lambda trade: {
        "Trade ID": None if trade.trade_id is None else int(trade.trade_id),
        "select": trade.symbol,
        "time of trade": None if trade.timestamp is None else from_microseconds(trade.timestamp).replace(tzinfo=None),
        "price": trade.price,
        "size": trade.quantity,
        "loaded.ms": (trade.ingestion_timestamp or 0) // 1000,
        "kind": "trade",
        "deleted_at": None,
        "taker": {"BUY": "bid", "SELL": "ask"}.get(trade.side or "", "BUY"),
    },
)

# Nanoseconds in one unpartitioned table, without an ingestion time.
UNPARTITIONED = Shape(
    columns="ns BIGINT, price DOUBLE, quantity DECIMAL(18, 8), id STRING, sequence INT, direction INT",
    partitions="",
    mapping="""
timestamp: {column: ns, unit: ns}
price: price
quantity: quantity
symbol: {value: BTC-USD}
exchange: {value: kraken}
trade_id: id
source_sequence: sequence
side: {column: direction, buy: 1, sell: -1}
""",
    row=lambda trade: {
        "ns": None if trade.timestamp is None else trade.timestamp * 1000 + 999,
        "price": None if trade.price is None else float(trade.price),
        "quantity": trade.quantity,
        "id": trade.trade_id,
        "sequence": trade.source_sequence,
        "direction": {"BUY": 1, "SELL": -1}.get(trade.side or "", 0),
    },
)
