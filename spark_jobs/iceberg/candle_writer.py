"""The only writer of candles: an upsert by overwrite, in one commit or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import reduce
from operator import or_
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from ohlcv.iceberg.write_lock import AssertLockHeld
from ohlcv.model import summary_keys
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import EPOCH, HOUR, MICROSECOND, Range, to_microseconds
from ohlcv.model.table_contracts import CANDLE_COLUMNS, KEY, VALUES, TableContract
from ohlcv.model.timeframes import Timeframe
from spark_jobs.compute.time_predicates import starts_within
from spark_jobs.iceberg.partial_overwrite import PartialOverwrite, plan_overwrites
from spark_jobs.iceberg.table_metadata import find_snapshot, table_name
from spark_jobs.runtime.py4j_bridge import JavaObject

ACTIONS = ("inserted", "updated", "deleted", "unchanged", "kept")


def read_stored(spark: SparkSession, contract: TableContract, table: JavaObject) -> DataFrame:
    """Read the candle table as it stands now; later commits of others do not move it."""
    snapshot = table.currentSnapshot()
    reader = spark.read
    if snapshot is not None:
        reader = reader.option("versionAsOf", str(snapshot.snapshotId()))
    # A snapshot is read with the columns it was written with: `volume` may have been widened since.
    return reader.table(table_name(contract)).withColumn("volume", F.col("volume").cast(volume_type(table)))


def volume_type(table: JavaObject) -> str:
    """Give the type of the table's volume column."""
    return str(table.schema().findType("volume").toString())


@dataclass(frozen=True)
class CommitGuard:
    """What keeps a commit from undoing another writer's: the lease, or else Iceberg's check of what came in between."""

    assert_lock_held: AssertLockHeld
    # Of the write; none under a lease.
    options: Mapping[str, str]

    @property
    def leased(self) -> bool:
        return not self.options

    @classmethod
    def of(cls, table: JavaObject, assert_lock_held: AssertLockHeld, *, leased: bool) -> CommitGuard:
        """CommitGuard a table from the state it has been loaded in."""
        if leased:
            return cls(assert_lock_held, {})
        options = {"isolation-level": "serializable"}
        # An empty table has none: then whatever is there at the commit came in between.
        if (snapshot := table.currentSnapshot()) is not None:
            options["validate-from-snapshot-id"] = str(snapshot.snapshotId())
        return cls(assert_lock_held, options)


@dataclass(frozen=True)
class Comparison:
    """The computed candles against the stored ones, and what it takes to make them agree."""

    # Every stored or computed candle of the ranges: the values to store, those it had (`old`), and its `action`.
    rows: DataFrame
    counts: dict[str, int]
    changed_partitions: list[date]
    withheld: int
    broken: int


def compare(
    computed: DataFrame,
    stored: DataFrame,
    timeframe: Timeframe,
    ranges: list[Range],
    empty_hours: Iterable[int],
    now: datetime,
    *,
    prune: bool,
) -> Comparison:
    """Set the computed candles against those stored for the same windows."""
    rows = _with_actions(computed, stored, timeframe, ranges, empty_hours, now, prune=prune).persist()
    partition = F.trunc("window_date", "month") if timeframe.partition == "month" else F.col("window_date")
    tally = (
        rows.groupBy(partition.alias("partition"), "action", "withheld", F.col("broken").isNotNull().alias("broken"))
        .agg(F.count("*").alias("candles"))
        .collect()
    )
    counts = dict.fromkeys(ACTIONS, 0)
    for row in tally:
        if row.action is not None:
            counts[row.action] += row.candles
    return Comparison(
        rows=rows,
        counts=counts,
        changed_partitions=sorted({row.partition for row in tally if row.action in ("inserted", "updated", "deleted")}),
        withheld=sum(row.candles for row in tally if row.withheld),
        broken=sum(row.candles for row in tally if row.broken),
    )


def _with_actions(
    computed: DataFrame,
    stored: DataFrame,
    timeframe: Timeframe,
    ranges: list[Range],
    empty_hours: Iterable[int],
    now: datetime,
    *,
    prune: bool,
) -> DataFrame:
    new = computed.select(*KEY, F.struct(*VALUES).alias("new"), "withheld", "broken", "exact_volume")
    old = (
        stored.where(F.col("window_date").isin(dates_of(ranges)))
        .where(starts_within(ranges))
        .groupBy(*KEY)
        # A key stored twice (by another hand) comes out as one candle, with its first creation.
        .agg(
            F.max(F.struct(*VALUES)).alias("old"),
            F.count("*").alias("copies"),
            F.min("created_at").alias("created_at"),
            F.max("updated_at").alias("updated_at"),
        )
    )
    has_new = F.col("new").isNotNull() & ~F.coalesce("withheld", F.lit(False))
    new_count = F.when(has_new, F.col("new.trade_count")).otherwise(0)
    # The source may have let go of old trades. A candle is left alone where one of its hours holds no trades
    # at all and rebuilding would take trades away from it.
    expired = _has_empty_hour(timeframe, empty_hours) & (new_count < F.col("old.trade_count")) & ~F.lit(prune)
    expired = expired & ~F.coalesce("withheld", F.lit(False))
    action = (
        F.when(F.col("old").isNull() & has_new, "inserted")
        .when(F.col("old").isNull(), None)
        .when(expired, "kept")
        .when(~has_new, "deleted")
        .when((F.col("copies") > 1) | (F.col("new") != F.col("old")), "updated")
        .otherwise("unchanged")
    )
    stays = F.col("action").isin("unchanged", "kept")
    written = F.timestamp_micros(F.lit(to_microseconds(now)))
    return (
        new.join(old, on=list(KEY), how="full")
        .withColumn("action", action)
        .withColumn("value", F.when(stays | ~has_new, F.col("old")).otherwise(F.col("new")))
        .select(
            *KEY,
            *(F.coalesce(f"value.{name}", f"new.{name}").alias(name) for name in VALUES),
            F.coalesce("created_at", written).alias("created_at"),
            F.when(stays, F.col("updated_at")).otherwise(written).alias("updated_at"),
            "old",
            "action",
            F.coalesce("withheld", F.lit(False)).alias("withheld"),
            "broken",
            "exact_volume",
        )
    )


def _has_empty_hour(timeframe: Timeframe, empty_hours: Iterable[int]) -> Column:
    # An hour holds many short windows, a day candle holds many hours: name each group by its start.
    group = max(timeframe.length, HOUR) // MICROSECOND
    starts = sorted({hour * (HOUR // MICROSECOND) // group * group for hour in empty_hours})
    if not starts:
        return F.lit(False)
    start = F.unix_micros("window_start")
    return (start - F.pmod(start, F.lit(group))).isin(starts)


def dates_of(ranges: Iterable[Range]) -> list[date]:
    """Give the UTC dates the ranges touch."""
    days: set[date] = set()
    for span in ranges:
        first = (span.start - EPOCH).days
        last = (span.end - MICROSECOND - EPOCH).days
        days.update((EPOCH.date().fromordinal(EPOCH.date().toordinal() + day)) for day in range(first, last + 1))
    return sorted(days)


def write(
    comparison: Comparison,
    stored: DataFrame,
    contract: TableContract,
    timeframe: Timeframe,
    table: JavaObject,
    ranges: list[Range],
    summary: dict[str, str],
    guard: CommitGuard,
) -> int:
    """Replace the changed partitions, of large ones no more than it takes, in one commit; give the id of its snapshot.

    The rebuilt windows take the place of the old ones; every other row of what is replaced is carried over.
    Under a lease a plain overwrite, without an isolation option: the one that survives a lost reply of the catalog's
    database. Without one (REST catalogs) Iceberg checks that nobody changed those partitions since they were read.
    """
    columns = [column.name for column in CANDLE_COLUMNS]
    in_partitions = partition_filter(timeframe, comparison.changed_partitions)
    parts = plan_overwrites(table, timeframe, comparison.changed_partitions, ranges)
    replaced = overwrite_filter(timeframe, parts)
    carried = stored.where(replaced & ~starts_within(ranges)).select(*columns)
    rebuilt = comparison.rows.where(in_partitions & F.col("action").isin("inserted", "updated", "unchanged", "kept"))
    gathered = _gathered(carried, rebuilt.select(*columns), timeframe, list(parts.values()))
    rows = gathered.sortWithinPartitions("window_date", "symbol", "exchange", "window_start")
    writer: Any = (
        rows.writeTo(table_name(contract)).option("distribution-mode", "none").option("fanout-enabled", "true")
    )
    for name, value in summary.items():
        writer = writer.option(f"snapshot-property.{name}", value)
    for name, value in guard.options.items():
        writer = writer.option(name, value)
    guard.assert_lock_held()
    try:
        writer.overwrite(replaced)
    except Exception as error:
        # The reply can be lost after the commit has landed: look before anything is tried again.
        try:
            landed = _landed(table, summary[summary_keys.ATTEMPT])
        except Exception:
            raise OhlcvError(
                f"{contract.name}: the catalog stopped answering, so the commit may have landed or not: "
                "run again, a rerun writes only what is missing"
            ) from error
        if landed is None:
            raise
        return landed
    landed = _landed(table, summary[summary_keys.ATTEMPT])
    if landed is None:
        raise RuntimeError(f"{contract.name}: the commit is not among the newest snapshots")
    return landed


def _gathered(
    carried: DataFrame, rebuilt: DataFrame, timeframe: Timeframe, parts: Sequence[PartialOverwrite]
) -> DataFrame:
    """Bring the rows of each file together: one for a partition, and one for what has settled of a large one."""
    rows = carried.unionByName(rebuilt)
    if len(parts) > 1:
        partition = F.trunc("window_date", "month") if timeframe.partition == "month" else F.col("window_date")
        return rows.repartition(partition)
    (part,) = parts
    if part.settled is not None:
        return rows.repartitionById(2, (F.col("window_start") < F.lit(part.settled)).cast("int"))
    # Where there is but one file, as in most runs, its rows need no shuffle to meet.
    return rows.coalesce(1)


def _landed(table: JavaObject, attempt: str) -> int | None:
    table.refresh()
    return find_snapshot(table, summary_keys.ATTEMPT, attempt)


def overwrite_filter(timeframe: Timeframe, parts: Mapping[date, PartialOverwrite]) -> Column:
    """Give the condition that selects exactly what is written anew."""
    whole = partition_filter(timeframe, [day for day, part in parts.items() if part.begin is None])
    cut = (
        partition_filter(timeframe, [day]) & (F.col("window_start") >= F.lit(part.begin))
        for day, part in parts.items()
        if part.begin is not None
    )
    return reduce(or_, cut, whole)


def partition_filter(timeframe: Timeframe, partitions: Iterable[date]) -> Column:
    """Give the condition on window_date that selects exactly those partitions, whole."""
    day = F.col("window_date")
    if timeframe.partition == "day":
        return day.isin(list(partitions))
    return reduce(
        or_, ((day >= first) & (day < timeframe.next_partition(first)) for first in partitions), F.lit(False)
    )
