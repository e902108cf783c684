"""Data contract: columns, partitions and properties of every table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ohlcv.model.columns import Column
from ohlcv.model.coverage_columns import COVERAGE_COLUMNS, NOTE_COLUMNS, RECONCILIATION_COLUMNS
from ohlcv.model.table_names import Identifier, TableNames, dotted
from ohlcv.model.timeframes import Timeframe
from ohlcv.model.trade_mapping import DEFAULT_MAPPING, EXCHANGE_HOUR, TradeMapping, mapping_problems

# Type of every price and quantity. The jobs compute on the unscaled integers (value = integer * 10^-8).
AMOUNT = "decimal(18, 8)"
AMOUNT_SCALE = 8
AMOUNT_LIMIT = 10**18
# Type of the volume column after `ohlcv tables widen-volume`, for tokens whose daily volume needs more digits.
WIDE_AMOUNT = "decimal(38, 8)"


@dataclass(frozen=True)
class Partition:
    """A partition field: a column and the Iceberg transform applied to it."""

    column: str
    transform: str


@dataclass(frozen=True)
class TableContract:
    """Required columns, partitions and properties of a table."""

    # Namespace and name.
    identifier: Identifier
    columns: tuple[Column, ...]
    partitions: tuple[Partition, ...]
    properties: dict[str, str]
    # Types that the contract also accepts, by column. A documented command produces them.
    widened: dict[str, str] = field(default_factory=dict)
    # Columns that a documented command adds: a table has all of them or none.
    extension: tuple[Column, ...] = ()
    # The columns of a trades table of another shape; then only what the mapping uses is compared.
    mapping: TradeMapping = DEFAULT_MAPPING

    @property
    def name(self) -> str:
        """Return the name without its namespace."""
        return self.identifier[-1]

    @property
    def namespace(self) -> Identifier:
        return self.identifier[:-1]

    @property
    def column_names(self) -> list[str]:
        return [column.name for column in self.columns]

    def is_extended(self, columns: Iterable[str]) -> bool:
        """Return whether a table with these columns has those of the extension."""
        return not {column.name for column in self.extension}.isdisjoint(columns)

    @property
    def holds_trades(self) -> bool:
        return self.columns == TRADE_COLUMNS

    def __str__(self) -> str:
        return dotted(self.identifier)


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

# Unique key of a candle.
KEY = ("symbol", "exchange", "window_start")
# Columns computed from trades. `updated_at` changes only when one of these changes.
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

# Measures: further values of a candle, in tables extended by `ohlcv tables extend`. A candle has all of them or none:
# `quote_volume` is null only in a candle that was not rebuilt since the extension. A change of a measure alone is no
# revision of the candle.
MEASURE_COLUMNS = (
    # Sum of price * quantity.
    Column("quote_volume", "decimal(38, 16)"),
    # Sums over the trades whose side is BUY. Null where a trade of the window has no side.
    Column("taker_buy_volume", WIDE_AMOUNT),
    Column("taker_buy_quote_volume", "decimal(38, 16)"),
    Column("first_trade_at", "timestamptz"),
    Column("last_trade_at", "timestamptz"),
)
MEASURES = tuple(column.name for column in MEASURE_COLUMNS)

# The ledger: each change of main's current snapshot of a candle table, and the values that it replaced.
PUBLICATION_COLUMNS = (
    Column("timeframe", "string"),
    # 1, 2, 3, … in each timeframe.
    Column("number", "long"),
    Column("trigger", "string"),
    # Null while the candle table has no snapshot.
    Column("snapshot", "long"),
    # When main moved to the snapshot, by the clock of the client (of a REST catalog: the service) that committed it.
    Column("visible_at", "timestamptz"),
    Column("dag_id", "string"),
    Column("run_id", "string"),
    Column("trades_snapshot", "long"),
    # `updated_at` of the candles that it wrote. Candles created at this time were inserted by it.
    Column("written_at", "timestamptz"),
    Column("inserted", "long"),
    Column("updated", "long"),
    Column("deleted", "long"),
    # First days of the partitions that retention deleted.
    Column("deleted_partitions", "list<string>"),
)
REVISION_COLUMNS = (
    Column("timeframe", "string"),
    Column("publication", "long"),
    Column("symbol", "string"),
    Column("exchange", "string"),
    Column("window_start", "timestamptz"),
    # inserted, updated or deleted.
    Column("change", "string"),
    # The candle before the publication. All null where there was none.
    *(
        Column(column.name, WIDE_AMOUNT if column.name == "volume" else column.type)
        for column in CANDLE_COLUMNS
        if column.name not in KEY
    ),
    Column("causes", "list<string>"),
    # Newest ingestion time of the added trades minus the end of the window, in microseconds.
    Column("lateness", "long"),
    # Since when the audit held the candle back that the publication released.
    Column("held_since", "timestamptz"),
    Column("waived", "boolean"),
)


# Permits Spark to write to a branch that a job chooses.
STAGING_PROPERTY = "write.wap.enabled"


def _properties(target_megabytes: int) -> dict[str, str]:
    return {
        "format-version": "2",
        "write.format.default": "parquet",
        "write.parquet.compression-codec": "zstd",
        "write.target-file-size-bytes": str(target_megabytes * 1024 * 1024),
        # A table gets a commit every five minutes. Without this limit old metadata files are never deleted.
        "write.metadata.delete-after-commit.enabled": "true",
        "write.metadata.previous-versions-max": "100",
    }


def trades_contract(names: TableNames, mapping: TradeMapping = DEFAULT_MAPPING) -> TableContract:
    """Return the contract of the trades table."""
    return TableContract(
        identifier=names.trades,
        columns=TRADE_COLUMNS,
        partitions=(Partition("exchange_date", "identity"), Partition("exchange_hour", "identity")),
        properties=_properties(256),
        # Other writers have only 64 bits; Iceberg cannot change the type back.
        widened={EXCHANGE_HOUR: "long"},
        mapping=mapping,
    )


def candles_contract(names: TableNames, timeframe: Timeframe) -> TableContract:
    """Return the contract of the candle table of a timeframe."""
    return TableContract(
        identifier=names.candle_table(timeframe.name),
        columns=CANDLE_COLUMNS,
        partitions=(Partition("window_date", timeframe.partition),),
        properties={**_properties(64), STAGING_PROPERTY: "true"},
        widened={"volume": WIDE_AMOUNT},
        extension=MEASURE_COLUMNS,
    )


def publications_contract(names: TableNames) -> TableContract:
    """Return the contract of the ledger's table of publications."""
    return _monthly_contract(names.publications, PUBLICATION_COLUMNS, "visible_at")


def revisions_contract(names: TableNames) -> TableContract:
    """Return the contract of the ledger's table of revisions."""
    return _monthly_contract(names.revisions, REVISION_COLUMNS, "window_start")


def reconciliation_contract(names: TableNames) -> TableContract:
    """Return the contract of the table of comparisons with published candles."""
    return _monthly_contract(names.reconciliation, RECONCILIATION_COLUMNS, "window_start")


def coverage_contract(names: TableNames) -> TableContract:
    """Return the contract of the table of the coverage."""
    return TableContract(names.coverage, COVERAGE_COLUMNS, (Partition("hour", "day"),), _properties(64))


def coverage_notes_contract(names: TableNames) -> TableContract:
    """Return the contract of the table of notes on the coverage."""
    return TableContract(names.coverage_notes, NOTE_COLUMNS, (Partition("recorded_at", "month"),), _properties(64))


def _monthly_contract(identifier: Identifier, columns: tuple[Column, ...], time: str) -> TableContract:
    # Retention deletes whole months of a timeframe.
    partitions = (Partition("timeframe", "identity"), Partition(time, "month"))
    return TableContract(identifier, columns, partitions, _properties(64))


def contracts(
    names: TableNames, timeframes: Iterable[Timeframe], mapping: TradeMapping = DEFAULT_MAPPING
) -> Iterator[TableContract]:
    """Return the contracts of all tables: trades, candles of these timeframes, the ledger, coverage, reconciliation."""
    yield trades_contract(names, mapping)
    yield from (candles_contract(names, timeframe) for timeframe in timeframes)
    yield publications_contract(names)
    yield revisions_contract(names)
    yield coverage_contract(names)
    yield coverage_notes_contract(names)
    yield reconciliation_contract(names)


@dataclass(frozen=True)
class TableShape:
    """Actual columns, partitions and format version of a table. pyiceberg and Iceberg's Java name types alike."""

    columns: tuple[tuple[str, str], ...]
    partitions: tuple[str, ...]
    format_version: int


def contract_differences(shape: TableShape, contract: TableContract) -> list[str]:
    """Return every difference between a table and its contract.

    Additional columns and another order of the columns are no differences, because every reader and writer uses names.
    The columns of the extension are compared if the table has one of them.
    Table properties may differ, too.
    """
    if not contract.mapping.is_default:
        return mapping_problems(contract.mapping, dict(shape.columns))
    differences = []
    found = dict(shape.columns)
    columns = (*contract.columns, *(contract.extension if contract.is_extended(found) else ()))
    names = [column.name for column in columns]
    extra = [name for name in found if name not in names]
    for column in columns:
        if column.name not in found:
            differences.append(f"column {column.name} is missing")
        elif found[column.name] not in (column.type, contract.widened.get(column.name)):
            differences.append(f"column {column.name} is {found[column.name]}, not {column.type}")
    if extra and not found.keys() >= set(names):
        # One of them may be a renamed column.
        differences.append(f"unexpected column {', '.join(extra)}")
    # Spark SQL does not distinguish such names and rejects every query.
    lower_names = {column.name.lower() for column in (*contract.columns, *contract.extension)}
    differences += [f"column {name} differs only in case" for name in extra if name.lower() in lower_names]
    expected = tuple(f"{partition.transform}({partition.column})" for partition in contract.partitions)
    if shape.partitions != expected:
        differences.append(f"partitioned by {', '.join(shape.partitions) or 'nothing'}, not {', '.join(expected)}")
    if shape.format_version != int(contract.properties["format-version"]):
        differences.append(f"format version {shape.format_version}, not {contract.properties['format-version']}")
    return differences


def contract_problem(shape: TableShape, contract: TableContract) -> str | None:
    """Return one line about the differences between a table and its contract, or None if there is none."""
    differences = "; ".join(contract_differences(shape, contract))
    if not differences:
        return None
    if contract.mapping.is_default:
        remedy = (
            "or map other columns (OHLCV_TRADES_MAPPING)" if contract.holds_trades else "nothing is changed by itself"
        )
        return f"{contract} does not match its contract: {differences}: undo this change, {remedy}"
    return f"{contract} does not fit its mapping (OHLCV_TRADES_MAPPING): {differences}: correct the mapping"


def missing_table_problem(contract: TableContract) -> str:
    """Return the error of a table that the catalog does not contain."""
    if contract.mapping.is_default:
        return f"there is no table {contract}: run 'ohlcv tables create'"
    return f"there is no table {contract}, which OHLCV_TRADES_MAPPING maps: correct OHLCV_TRADES_TABLE"


def missing_snapshot_problem(contract: TableContract) -> str:
    """Return the error of a table of a REST catalog without a snapshot.

    Nessie 0.99 accepts a first commit even if another one was made since the writer loaded the table, and so loses the
    other one. It checks all later commits.
    """
    return (
        f"{contract} has no first snapshot, and a REST catalog may lose one of two concurrent first "
        "commits: drop the empty table and run 'ohlcv tables create', which adds one"
    )
