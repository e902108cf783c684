"""Candle writer: compares computed with stored candles and writes the differences in one commit or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
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
from ohlcv.model.source_hours import windows_of_hour
from ohlcv.model.table_contracts import CANDLE_COLUMNS, KEY, MEASURES, VALUES, TableContract
from ohlcv.model.timeframes import Timeframe
from spark_jobs.compute.time_predicates import starts_within
from spark_jobs.iceberg.partial_overwrite import PartialOverwrite, plan_overwrites
from spark_jobs.iceberg.snapshot_columns import with_present_columns
from spark_jobs.iceberg.staging import writing_to
from spark_jobs.iceberg.table_metadata import find_after_error, find_snapshot, table_name
from spark_jobs.runtime.py4j_bridge import JavaObject

# The action of a stored candle that stays because one of its source hours is empty.
PRESERVED = "preserved"
ACTIONS = (*summary_keys.WRITES, "unchanged", PRESERVED)


def read_stored(spark: SparkSession, contract: TableContract, table: JavaObject) -> DataFrame:
    """Return the candles of the table's current snapshot; later commits do not change the result."""
    snapshot = table.currentSnapshot()
    if snapshot is None:
        return spark.read.table(table_name(spark, contract))
    number = int(snapshot.snapshotId())
    rows = spark.read.option("versionAsOf", str(number)).table(table_name(spark, contract))
    # `volume` may have been widened since the commit, and the table extended.
    return with_present_columns(rows, table, number)


def volume_type(table: JavaObject) -> str:
    """Return the type of the table's volume column."""
    return str(table.schema().findType("volume").toString())


def is_extended(table: JavaObject) -> bool:
    """Return whether the table has measures."""
    return table.schema().findField(MEASURES[0]) is not None


@dataclass(frozen=True)
class CommitGuard:
    """Protection against overwriting another writer's commit: the write lock, or Iceberg's conflict validation."""

    assert_lock_held: AssertLockHeld
    # Write options that turn on the validation; none with a write lock.
    options: Mapping[str, str]

    @property
    def has_lock(self) -> bool:
        return not self.options

    @classmethod
    def for_table(cls, table: JavaObject, assert_lock_held: AssertLockHeld, *, has_lock: bool) -> CommitGuard:
        """Return the guard of a table. The validation covers all commits after the state in which it was loaded."""
        if has_lock:
            return cls(assert_lock_held, {})
        start = str(table.currentSnapshot().snapshotId())
        return cls(assert_lock_held, {"isolation-level": "serializable", "validate-from-snapshot-id": start})


@dataclass(frozen=True)
class Comparison:
    """Computed candles compared with the stored ones."""

    timeframe: Timeframe
    # Every stored or computed candle of the ranges, without those of held series: the values to store, the stored
    # values (`old`) and the `action`.
    rows: DataFrame
    # Number of candles by action.
    counts: dict[str, int]
    changed_partitions: list[date]
    withheld: int
    # Number of computed candles that violate an invariant.
    violations: int
    # The rows in memory.
    cached: DataFrame
    # The measures of the table.
    measures: tuple[str, ...] = ()
    # Series whose stored candles stay as they are: exchange, symbol and first hour.
    held: frozenset[tuple[str, str, int]] = frozenset()

    def holding(self, keys: Iterable[tuple[str, str, int]]) -> Comparison:
        """Return the comparison in which the stored candles of these series stay as they are."""
        held = self.held | frozenset(keys)
        others = self.cached.where(~is_held(self.timeframe, held))
        return _comparison(self.timeframe, others, self.cached, self.measures, held)

    def release(self) -> None:
        """Free the memory of the rows."""
        self.cached.unpersist()


def compare(
    computed: DataFrame,
    stored: DataFrame,
    timeframe: Timeframe,
    ranges: list[Range],
    empty_hours: Iterable[int],
    now: datetime,
    *,
    prune: bool,
    measures: bool = False,
) -> Comparison:
    """Return the computed candles compared with those stored for the same windows."""
    names = MEASURES if measures else ()
    rows = _with_actions(computed, stored, timeframe, ranges, empty_hours, now, prune=prune, measures=names).persist()
    return _comparison(timeframe, rows, rows, names)


def _comparison(
    timeframe: Timeframe,
    rows: DataFrame,
    cached: DataFrame,
    measures: tuple[str, ...],
    held: frozenset[tuple[str, str, int]] = frozenset(),
) -> Comparison:
    has_violation = F.col("violation").isNotNull().alias("has_violation")
    tally = (
        rows.groupBy(_partition_of(timeframe).alias("partition"), "action", "withheld", has_violation)
        .agg(F.count("*").alias("candles"))
        .collect()
    )
    counts = dict.fromkeys(ACTIONS, 0)
    for row in tally:
        if row.action is not None:
            counts[row.action] += row.candles
    return Comparison(
        timeframe=timeframe,
        rows=rows,
        counts=counts,
        changed_partitions=sorted({row.partition for row in tally if row.action in summary_keys.WRITES}),
        withheld=sum(row.candles for row in tally if row.withheld),
        violations=sum(row.candles for row in tally if row.has_violation),
        cached=cached,
        measures=measures,
        held=held,
    )


def is_held(timeframe: Timeframe, held: Iterable[tuple[str, str, int]]) -> Column:
    """Return the predicate that selects the windows of held series."""
    conditions = (
        (F.col("exchange") == exchange)
        & (F.col("symbol") == symbol)
        & starts_within([windows_of_hour(timeframe, hour)])
        for exchange, symbol, hour in sorted(held)
    )
    return F.coalesce(reduce(or_, conditions, F.lit(False)), F.lit(False))


def _partition_of(timeframe: Timeframe) -> Column:
    return F.trunc("window_date", "month") if timeframe.partition == "month" else F.col("window_date")


def _with_actions(
    computed: DataFrame,
    stored: DataFrame,
    timeframe: Timeframe,
    ranges: list[Range],
    empty_hours: Iterable[int],
    now: datetime,
    *,
    prune: bool,
    measures: tuple[str, ...],
) -> DataFrame:
    values = (*VALUES, *measures)
    new = computed.select(*KEY, F.struct(*values).alias("new"), "withheld", "violation", "exact_volume")
    old = (
        stored.where(F.col("window_date").isin(dates_of(ranges)))
        .where(starts_within(ranges))
        .groupBy(*KEY)
        # A key that another writer stored twice becomes one candle with the earlier creation time.
        .agg(
            F.max(F.struct(*values)).alias("old"),
            F.count("*").alias("copies"),
            F.min("created_at").alias("created_at"),
            F.max("updated_at").alias("updated_at"),
        )
    )
    has_new = F.col("new").isNotNull() & ~F.coalesce("withheld", F.lit(False))
    new_count = F.when(has_new, F.col("new.trade_count")).otherwise(0)
    # Old trades may have expired in the source. A candle is preserved if one of its hours has no trades at all and a
    # rebuild would reduce its number of trades.
    preserve = _has_empty_hour(timeframe, empty_hours) & (new_count < F.col("old.trade_count")) & ~F.lit(prune)
    preserve = preserve & ~F.coalesce("withheld", F.lit(False))
    differ = _differ(VALUES) if measures else F.col("new") != F.col("old")
    action = (
        F.when(F.col("old").isNull() & has_new, "inserted")
        .when(F.col("old").isNull(), None)
        .when(preserve, PRESERVED)
        .when(~has_new, "deleted")
        .when((F.col("copies") > 1) | differ, "updated")
    )
    keeps_time = stays = F.col("action").isin("unchanged", PRESERVED)
    if measures:
        action = action.when(_differ(measures), summary_keys.FILLED)
        # A change of measures is no revision of the candle.
        keeps_time = stays | (F.col("action") == summary_keys.FILLED)
    written = F.timestamp_micros(F.lit(to_microseconds(now)))
    return (
        new.join(old, on=list(KEY), how="full")
        .withColumn("action", action.otherwise("unchanged"))
        .withColumn("value", F.when(stays | ~has_new, F.col("old")).otherwise(F.col("new")))
        .select(
            *KEY,
            *(F.coalesce(f"value.{name}", f"new.{name}").alias(name) for name in VALUES),
            F.coalesce("created_at", written).alias("created_at"),
            *(F.col(f"value.{name}").alias(name) for name in measures),
            F.when(keeps_time, F.col("updated_at")).otherwise(written).alias("updated_at"),
            "old",
            "action",
            F.coalesce("withheld", F.lit(False)).alias("withheld"),
            "violation",
            "exact_volume",
        )
    )


def _differ(names: tuple[str, ...]) -> Column:
    """Return the predicate that a computed and a stored candle differ in one of the columns; two nulls are equal."""
    new, old = (F.struct(*(F.col(f"{candle}.{name}") for name in names)) for candle in ("new", "old"))
    return new != old


def _has_empty_hour(timeframe: Timeframe, empty_hours: Iterable[int]) -> Column:
    # An hour contains many short windows, and a day candle contains many hours: compare the start of the longer one.
    group = max(timeframe.length, HOUR) // MICROSECOND
    starts = sorted({hour * (HOUR // MICROSECOND) // group * group for hour in empty_hours})
    if not starts:
        return F.lit(False)
    start = F.unix_micros("window_start")
    return (start - F.pmod(start, F.lit(group))).isin(starts)


def dates_of(ranges: Iterable[Range]) -> list[date]:
    """Return the UTC dates that the ranges overlap."""
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
    table: JavaObject,
    ranges: list[Range],
    summary: Mapping[str, str],
    guard: CommitGuard,
    branch: str | None = None,
) -> JavaObject:
    """Replace the changed partitions (of large ones only a part) in one commit and return its snapshot.

    The rebuilt windows replace the old ones. All other rows of the replaced part are carried over. With a write lock
    this is a plain overwrite without an isolation level: the one operation that survives a lost reply of the catalog's
    database. Without a lock (REST catalogs) Iceberg validates that nobody changed the same rows since they were read.
    With a branch, readers do not see the commit.
    """
    spark = stored.sparkSession
    rows, replaced = _replacement(comparison, stored, table, ranges)
    writer: Any = (
        rows.writeTo(table_name(spark, contract)).option("distribution-mode", "none").option("fanout-enabled", "true")
    )
    for name, value in summary.items():
        writer = writer.option(f"snapshot-property.{name}", value)
    for name, value in guard.options.items():
        writer = writer.option(name, value)
    guard.assert_lock_held()
    try:
        with writing_to(spark, branch) if branch else nullcontext():
            writer.overwrite(replaced)
    except Exception as error:
        snapshot = find_after_error(
            table,
            error,
            lambda: _find_commit(table, summary[summary_keys.ATTEMPT], branch),
            f"{contract.name}: the catalog stopped answering, so the commit may or may not have succeeded: "
            "run again, a rerun writes only what is missing",
        )
        if snapshot is None:
            raise
        return snapshot
    table.refresh()
    snapshot = _find_commit(table, summary[summary_keys.ATTEMPT], branch)
    if snapshot is None:
        # A catalog may show only the newest snapshot (Nessie), so a lost commit and a hidden one look the same.
        raise OhlcvError(
            f"{contract.name}: the commit is not among the newest snapshots: run again, a rerun writes what is missing"
        )
    return snapshot


def stored_rows(comparison: Comparison) -> DataFrame:
    """Return the candles that the table has after the write, of the ranges and without held series."""
    remaining = F.col("action").isin("inserted", "updated", summary_keys.FILLED, "unchanged", PRESERVED)
    return comparison.rows.where(remaining).select(*(column.name for column in CANDLE_COLUMNS), *comparison.measures)


def _replacement(
    comparison: Comparison, stored: DataFrame, table: JavaObject, ranges: list[Range]
) -> tuple[DataFrame, Column]:
    """Return the rows to write, grouped by file, and the predicate that selects the rows that they replace."""
    timeframe = comparison.timeframe
    in_partitions = partition_filter(timeframe, comparison.changed_partitions)
    parts = plan_overwrites(table, timeframe, comparison.changed_partitions, ranges)
    replaced = overwrite_filter(timeframe, parts)
    is_rebuilt = starts_within(ranges)
    if comparison.held:
        is_rebuilt = is_rebuilt & ~is_held(timeframe, comparison.held)
    carried = stored.where(replaced & ~is_rebuilt)
    grouped = _group_by_file(carried, stored_rows(comparison).where(in_partitions), timeframe, list(parts.values()))
    return grouped.sortWithinPartitions("window_date", "symbol", "exchange", "window_start"), replaced


def _group_by_file(
    carried: DataFrame, rebuilt: DataFrame, timeframe: Timeframe, parts: Sequence[PartialOverwrite]
) -> DataFrame:
    """Return the rows with one task per file: one file per partition, and one for the cold rows of a large one."""
    # Other writers may have added columns. Carried rows keep their values, rebuilt rows have none.
    rows = carried.unionByName(rebuilt, allowMissingColumns=True)
    if len(parts) > 1:
        return rows.repartition(_partition_of(timeframe))
    (part,) = parts
    if part.cold_before is not None:
        return rows.repartitionById(2, (F.col("window_start") < F.lit(part.cold_before)).cast("int"))
    # Most runs write one file; coalesce needs no shuffle.
    return rows.coalesce(1)


def _find_commit(table: JavaObject, attempt: str, branch: str | None) -> JavaObject | None:
    if branch is None:
        return find_snapshot(table, summary_keys.ATTEMPT, attempt)
    # If the write failed, the branch is still at the snapshot at which it began.
    snapshot = table.snapshot(branch)
    return snapshot if snapshot is not None and snapshot.summary().get(summary_keys.ATTEMPT) == attempt else None


def overwrite_filter(timeframe: Timeframe, parts: Mapping[date, PartialOverwrite]) -> Column:
    """Return the predicate that selects exactly the rows to replace."""
    whole = partition_filter(timeframe, [day for day, part in parts.items() if part.start is None])
    partial = (
        partition_filter(timeframe, [day]) & (F.col("window_start") >= F.lit(part.start))
        for day, part in parts.items()
        if part.start is not None
    )
    return reduce(or_, partial, whole)


def partition_filter(timeframe: Timeframe, partitions: Iterable[date]) -> Column:
    """Return the predicate on window_date that selects exactly those partitions."""
    day = F.col("window_date")
    if timeframe.partition == "day":
        return day.isin(list(partitions))
    return reduce(or_, ((day >= first) & (day < timeframe.next_partition(first)) for first in partitions), F.lit(False))
