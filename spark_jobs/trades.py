"""Read the trades of whole hours, and judge each one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce
from operator import or_

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from ohlcv.catalog import CATALOG_NAME
from ohlcv.schema import NAMESPACE, TRADES_TABLE
from ohlcv.windows import runs_of_hours

MICROSECONDS_PER_HOUR = 3_600_000_000
_EPOCH = date(1970, 1, 1)

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


def read_trades(spark: SparkSession, snapshot: int | None, hours: Iterable[int]) -> DataFrame:
    """Read the trades of those hours as they stood at a snapshot (None: the table never had a trade)."""
    reader = spark.read if snapshot is None else spark.read.option("versionAsOf", str(snapshot))
    return reader.table(f"{CATALOG_NAME}.{NAMESPACE}.{TRADES_TABLE}").where(partitions_of(hours)).select(*COLUMNS)


def partitions_of(hours: Iterable[int]) -> Column:
    """Give the condition on the partition columns that selects exactly those hours."""
    return reduce(or_, (_run_condition(first, last) for first, last in runs_of_hours(hours)), F.lit(False))


def _run_condition(first: int, last: int) -> Column:
    (first_day, first_hour), (last_day, last_hour) = divmod(first, 24), divmod(last, 24)
    day = F.col("exchange_date")
    hour = F.col("exchange_hour")
    if first_day == last_day:
        return (day == _day(first_day)) & hour.between(first_hour, last_hour)
    return (
        ((day == _day(first_day)) & (hour >= first_hour))
        | ((day > _day(first_day)) & (day < _day(last_day)))
        | ((day == _day(last_day)) & (hour <= last_hour))
    )


def _day(number: int) -> Column:
    return F.lit(_EPOCH + timedelta(days=number))


def with_verdict(trades: DataFrame) -> DataFrame:
    """Add `rejected`: the first reason why a trade must not reach a candle, null for a good one."""
    hour_of_timestamp = F.floor(
        (F.col("timestamp") - F.pmod("timestamp", F.lit(MICROSECONDS_PER_HOUR))) / MICROSECONDS_PER_HOUR
    )
    no_identity = F.col("trade_id").isNull() & F.col("message_id").isNull()
    null_key = F.col("symbol").isNull() | F.col("exchange").isNull() | F.col("timestamp").isNull() | no_identity
    return trades.withColumn(
        "rejected",
        F.when(null_key, "null_key")
        .when(F.col("price").isNull() | (F.col("price") <= 0), "bad_price")
        .when(F.col("quantity").isNull() | (F.col("quantity") <= 0), "bad_quantity")
        .when(hour_of_timestamp != hour_of_partition(), "wrong_partition"),
    )


@dataclass(frozen=True)
class Survey:
    """What the hours hold: trades by verdict (None for the good ones), and where a trade may stand twice."""

    counts: Mapping[int, Mapping[str | None, int]]
    repeated: set[int]


def survey(judged: DataFrame) -> Survey:
    """Count the trades of each hour by verdict, and find the hours in which one may have several versions.

    Identities are compared by a 64-bit hash: two trades of one hash only cause a needless look, two versions
    of one trade are never missed. Choosing the latest version costs about three times this; most hours need none.
    """
    identity = F.when(F.col("rejected").isNull(), F.xxhash64("exchange", "symbol", "trade_id", message_identity()))
    rows = (
        judged.groupBy("exchange_date", "exchange_hour", "rejected", identity.alias("identity"))
        .agg(F.count("*").alias("versions"))
        .groupBy("exchange_date", "exchange_hour", "rejected")
        .agg(F.sum("versions").alias("trades"), F.max("versions").alias("versions"))
        .select(hour_of_partition().alias("hour"), "rejected", "trades", "versions")
        .collect()
    )
    counts: dict[int, dict[str | None, int]] = {}
    for row in rows:
        counts.setdefault(row.hour, {})[row.rejected] = row.trades
    return Survey(counts, {row.hour for row in rows if row.rejected is None and row.versions > 1})


def good_trades(judged: DataFrame) -> DataFrame:
    """Leave the rejected ones out."""
    return judged.where(F.col("rejected").isNull())


def counted_once(good: DataFrame, repeated: set[int]) -> DataFrame:
    """Give each trade once, looking for versions only in the hours that may have them."""
    if not repeated:
        return good
    in_question = partitions_of(repeated)
    single = good.where(~in_question)
    latest = latest_versions(good.where(in_question))
    return single.select(*latest.columns).unionByName(latest)


def latest_versions(good: DataFrame) -> DataFrame:
    """Keep one version of each trade of an hour: the latest ingested.

    The comparison goes on through every field it can differ in, so that the answer does not depend on
    the order of files.
    """
    version = F.struct(
        "ingestion_timestamp",
        "platform_sequence",
        "message_id",
        "timestamp",
        "source_sequence",
        "price",
        "quantity",
    )
    return (
        good.withColumn("message_identity", message_identity())
        .groupBy("symbol", "exchange", "exchange_date", "exchange_hour", "trade_id", "message_identity")
        .agg(F.max(version).alias("latest"))
        .select("symbol", "exchange", "trade_id", "latest.*")
    )


def message_identity() -> Column:
    """A trade without an id of its own is known by its message; the two kinds of id never meet."""
    return F.when(F.col("trade_id").isNull(), F.col("message_id"))


def hour_of_partition() -> Column:
    """Number the hour of a trade's partition."""
    return F.unix_date("exchange_date") * 24 + F.col("exchange_hour")
