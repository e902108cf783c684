"""Reader for the trades of whole hours."""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ohlcv.model.table_contracts import TableContract
from spark_jobs.compute.time_predicates import in_hours
from spark_jobs.iceberg.table_metadata import table_name

# The columns that candles depend on. No others are read from the files.
COLUMNS = (
    "symbol",
    "exchange",
    "trade_id",
    "message_id",
    "timestamp",
    "price",
    "quantity",
    "source_sequence",
    "ingestion_timestamp",
    "platform_sequence",
    "exchange_date",
    "exchange_hour",
)


def read_trades(
    spark: SparkSession, contract: TableContract, snapshot: int | None, hours: Iterable[int], *, all_have_ids: bool
) -> DataFrame:
    """Return the trades of those hours at a snapshot (None: the table has no snapshot yet).

    `identity` identifies a trade: its own id, or else the id of its message. Message ids are long and all different, so
    that column is not read for the identity where every trade has an id.
    """
    reader = spark.read if snapshot is None else spark.read.option("versionAsOf", str(snapshot))
    identity = F.col("trade_id") if all_have_ids else F.coalesce("trade_id", "message_id")
    return reader.table(table_name(spark, contract)).where(in_hours(hours)).select(*COLUMNS, identity.alias("identity"))
