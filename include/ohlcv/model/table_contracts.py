"""The data contract: columns, partitions and properties of every table, each fact in this one place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ohlcv.model.timeframes import TIMEFRAMES, Timeframe, get_timeframe

NAMESPACE = "market_data"
TRADES_TABLE = "gold_crypto_trades"

# Every price and quantity. Integers times ten to the minus eighth: the job computes on those integers.
AMOUNT = "decimal(18, 8)"
AMOUNT_SCALE = 8
AMOUNT_LIMIT = 10**18
# What `ohlcv tables widen-volume` makes of the volume column for tokens with more digits a day.
WIDE_AMOUNT = "decimal(38, 8)"


@dataclass(frozen=True)
class Column:
    """A column and its Iceberg type, as Iceberg writes it."""

    name: str
    type: str


@dataclass(frozen=True)
class Partition:
    """A partition field: a column and what Iceberg makes of it."""

    column: str
    transform: str


@dataclass(frozen=True)
class TableContract:
    """What a table must look like."""

    name: str
    columns: tuple[Column, ...]
    partitions: tuple[Partition, ...]
    properties: dict[str, str]
    # Types the contract also accepts, by column: the outcome of a documented command.
    widened: dict[str, str] = field(default_factory=dict)

    @property
    def column_names(self) -> list[str]:
        return [column.name for column in self.columns]


TRADE_COLUMNS = (
    Column("message_id", "string"),
    Column("trade_id", "string"),
    Column("symbol", "string"),
    Column("exchange", "string"),
    Column("asset_class", "string"),
    Column("timestamp", "long"),  # microseconds since the epoch, UTC
    Column("price", AMOUNT),
    Column("quantity", AMOUNT),
    Column("currency", "string"),
    Column("side", "string"),  # BUY or SELL
    Column("trade_conditions", "list<string>"),
    Column("source_sequence", "long"),
    Column("ingestion_timestamp", "long"),  # microseconds
    Column("platform_sequence", "long"),
    Column("vendor_data", "map<string, string>"),
    Column("exchange_date", "date"),  # the UTC date and hour of `timestamp`
    Column("exchange_hour", "int"),
)

# A candle is known by its key; a window belongs to one symbol on one exchange.
KEY = ("symbol", "exchange", "window_start")
# What a candle says. `updated_at` moves only when one of these does.
VALUES = (
    "window_end",
    "window_date",
    "open_price",
    "high_price",
    "low_price",
    "close_price",
    "volume",
    "trade_count",
    "vwap",
)

CANDLE_COLUMNS = (
    Column("symbol", "string"),
    Column("exchange", "string"),
    Column("window_start", "timestamptz"),
    Column("window_end", "timestamptz"),
    Column("window_date", "date"),
    Column("open_price", AMOUNT),
    Column("high_price", AMOUNT),
    Column("low_price", AMOUNT),
    Column("close_price", AMOUNT),
    Column("volume", AMOUNT),
    Column("trade_count", "long"),
    Column("vwap", AMOUNT),
    Column("created_at", "timestamptz"),
    Column("updated_at", "timestamptz"),
)


def _properties(target_megabytes: int) -> dict[str, str]:
    return {
        "format-version": "2",
        "write.format.default": "parquet",
        "write.parquet.compression-codec": "zstd",
        "write.target-file-size-bytes": str(target_megabytes * 1024 * 1024),
        # A commit every five minutes: without a bound the files that name old states pile up for ever.
        "write.metadata.delete-after-commit.enabled": "true",
        "write.metadata.previous-versions-max": "100",
    }


TRADES = TableContract(
    name=TRADES_TABLE,
    columns=TRADE_COLUMNS,
    partitions=(Partition("exchange_date", "identity"), Partition("exchange_hour", "identity")),
    properties=_properties(256),
)


def candles_contract(of: Timeframe) -> TableContract:
    """Give the contract of one timeframe's table."""
    return TableContract(
        name=of.table,
        columns=CANDLE_COLUMNS,
        partitions=(Partition("window_date", of.partition),),
        properties=_properties(64),
        widened={"volume": WIDE_AMOUNT},
    )


def contracts() -> Iterator[TableContract]:
    """Give every table's contract, the trades first."""
    yield TRADES
    for name in TIMEFRAMES:
        yield candles_contract(get_timeframe(name))


@dataclass(frozen=True)
class TableShape:
    """What a table does look like, in the contract's words. pyiceberg and Iceberg's Java write types alike."""

    columns: tuple[tuple[str, str], ...]
    partitions: tuple[str, ...]
    format_version: int


def contract_differences(shape: TableShape, contract: TableContract) -> list[str]:
    """Name every difference between a table and its contract; properties may be tuned by its owner."""
    differences = []
    found = dict(shape.columns)
    for column in contract.columns:
        if column.name not in found:
            differences.append(f"column {column.name} is missing")
        elif found[column.name] not in (column.type, contract.widened.get(column.name)):
            differences.append(f"column {column.name} is {found[column.name]}, not {column.type}")
    if extra := [name for name in found if name not in contract.column_names]:
        differences.append(f"unexpected column {', '.join(extra)}")
    elif not differences and list(found) != contract.column_names:
        differences.append(f"the columns stand in the order {', '.join(found)}")
    wanted = tuple(f"{partition.transform}({partition.column})" for partition in contract.partitions)
    if shape.partitions != wanted:
        differences.append(f"partitioned by {', '.join(shape.partitions) or 'nothing'}, not {', '.join(wanted)}")
    if shape.format_version != int(contract.properties["format-version"]):
        differences.append(f"format version {shape.format_version}, not {contract.properties['format-version']}")
    return differences


# Views over all timeframes. `volume` is shown wide so that widening one table leaves them valid.
CANDLES_VIEW = "ohlcv"
LATEST_VIEW = "ohlcv_latest"


def view_statements(catalog: str) -> dict[str, str]:
    """Give the SELECT behind each view, in Spark SQL."""

    def one(of: Timeframe) -> str:
        columns = ", ".join(
            f"CAST(volume AS {WIDE_AMOUNT}) AS volume" if column.name == "volume" else column.name
            for column in CANDLE_COLUMNS
        )
        return f"SELECT '{of.name}' AS timeframe, {columns} FROM {catalog}.{NAMESPACE}.{of.table}"

    names = ", ".join(["timeframe", *(column.name for column in CANDLE_COLUMNS)])
    newest = "row_number() OVER (PARTITION BY timeframe, symbol, exchange ORDER BY window_start DESC)"
    return {
        CANDLES_VIEW: " UNION ALL ".join(one(of) for of in TIMEFRAMES.values()),
        LATEST_VIEW: (
            f"SELECT {names} FROM (SELECT {names}, {newest} AS newest "
            f"FROM {catalog}.{NAMESPACE}.{CANDLES_VIEW}) WHERE newest = 1"
        ),
    }
