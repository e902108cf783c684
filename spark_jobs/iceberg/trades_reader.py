"""Read the trades of whole hours from the trades table."""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ohlcv.config.catalog_properties import CATALOG_NAME
from ohlcv.model.table_contracts import NAMESPACE, TRADES_TABLE
from spark_jobs.compute.time_predicates import in_hours

# What a candle needs of a trade: all that is read of the files.
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


def read_trades(spark: SparkSession, snapshot: int | None, hours: Iterable[int], *, all_have_ids: bool) -> DataFrame:
    """Read the trades of those hours as they stood at a snapshot (None: the table never had a trade).

    `identity` is what a trade is known by: its own id, or else its message's. Message ids are long, and every one is
    another: where no trade needs them, they are not read for it.
    """
    reader = spark.read if snapshot is None else spark.read.option("versionAsOf", str(snapshot))
    return (
        reader.table(f"{CATALOG_NAME}.{NAMESPACE}.{TRADES_TABLE}")
        .where(in_hours(hours))
        .select(
            *COLUMNS, (F.col("trade_id") if all_have_ids else F.coalesce("trade_id", "message_id")).alias("identity")
        )
    )
