"""Reader for the trades of whole hours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from ohlcv.model.table_contracts import TableContract
from ohlcv.model.trade_layout import hour_conditions
from ohlcv.model.trade_mapping import MAPPED_COLUMNS, TradeMapping
from spark_jobs.compute.mapped_trades import FAULTS, any_of, mapped_trades
from spark_jobs.compute.time_predicates import in_hours
from spark_jobs.compute.trade_columns import SERIES
from spark_jobs.iceberg.snapshot_columns import with_present_columns
from spark_jobs.iceberg.table_metadata import table_name
from spark_jobs.runtime.py4j_bridge import JavaObject
from spark_jobs.runtime.session import executor_cores

# Number of trades from which an hour is split, and the size of a part of its files.
SPLIT_MIN_TRADES, SPLIT_BYTES = 1_000_000, 32 << 20


@dataclass(frozen=True)
class TradesTable:
    """The trades table at one snapshot."""

    contract: TableContract
    # None: the table has no snapshot yet.
    snapshot: int | None
    # Iceberg types of its columns.
    kinds: Mapping[str, str]
    # The table as loaded by Iceberg's Java library; needed if it has a snapshot.
    loaded: JavaObject = None

    @property
    def mapping(self) -> TradeMapping:
        return self.contract.mapping

    @property
    def faults(self) -> tuple[str, ...]:
        """Return the columns with reasons to reject a trade that the mapping found."""
        return () if self.mapping.is_default else FAULTS

    def read(self, spark: SparkSession, condition: Column, **options: str) -> DataFrame:
        """Return the trades that meet a condition on the stored columns, with the columns of the contract."""
        name = table_name(spark, self.contract)
        if self.snapshot is None:
            rows = spark.read.options(**options).table(name)
        else:
            rows = spark.read.options(**options, versionAsOf=str(self.snapshot)).table(name)
            rows = with_present_columns(rows, self.loaded, self.snapshot)
        return self.as_contract(rows.where(condition))

    def as_contract(self, rows: DataFrame) -> DataFrame:
        """Return rows of the table as trades with the columns of the contract that candles depend on.

        Spark reads only those that a query uses.
        """
        if self.mapping.is_default:
            return rows.select(*MAPPED_COLUMNS)
        return mapped_trades(rows, self.mapping, self.kinds)


def split_properties(spark: SparkSession) -> dict[str, str]:
    """Return the properties with which the queries of `read_trades` use every core, however few hours they read."""
    return {
        "spark.sql.iceberg.planning.preserve-data-grouping": "false",
        "spark.sql.shuffle.partitions": str(executor_cores(spark)),
    }


def read_trades(
    spark: SparkSession, table: TradesTable, hours: Iterable[int], *, all_have_ids: bool, is_split: bool = False
) -> DataFrame:
    """Return the trades of those hours, an hour in one task, or distributed over the cores by series and identity.

    `identity` identifies a trade: its own id, or else the id of its message, then `by_message` is true. Message ids are
    long and all different, so that column is not read for the identity where every trade has an id. Where every row is
    a trade, the identity is empty.
    """
    mapping = table.mapping
    if mapping.every_row:
        identity = F.lit("")
    else:
        identity = F.col("trade_id") if all_have_ids else F.coalesce("trade_id", "message_id")
    by_message = F.col("trade_id").isNull()
    is_read = in_hours(hours) if mapping.is_default else any_of(hour_conditions(mapping, table.kinds, hours))
    options = {"split-size": str(SPLIT_BYTES)} if is_split else {}
    trades = table.read(spark, is_read, **options)
    trades = trades.select("*", identity.alias("identity"), by_message.alias("by_message"))
    # Without identities Spark distributes partial totals of the rows.
    if not is_split or mapping.every_row:
        return trades
    return trades.repartition(executor_cores(spark), *SERIES, "identity")
