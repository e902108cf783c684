"""Digests of the trades in some data files, by hour: equal digests mean equal trades, in whatever files they are."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from ohlcv.model.trade_layout import FIRST_HOUR, LAST_HOUR
from ohlcv.model.trade_mapping import COLUMNS_WITHOUT_SIDE, SIDE
from spark_jobs.compute.trade_columns import partition_hour
from spark_jobs.iceberg.changed_files import ChangedFiles
from spark_jobs.iceberg.trades_reader import TradesTable
from spark_jobs.runtime.py4j_bridge import JavaObject, java_class, static_method

# Number of trades, and sums of two hashes.
Digest = tuple[int, ...]
FILES_CATALOG = "ohlcv_files"
LOWER_BITS = 2**32 - 1


def digests(
    spark: SparkSession, table: TradesTable, java_table: JavaObject, tasks: list[JavaObject], *, with_side: bool = False
) -> dict[int, Digest]:
    """Return the digest of the trades by hour in the files of scan tasks, without the rows that they delete."""
    if not tasks:
        return {}
    # Iceberg reads chosen files for its own rewrites: the tasks are registered in the JVM under the name of a table.
    spark.conf.set(f"spark.sql.catalog.{FILES_CATALOG}", "org.apache.iceberg.spark.SparkRewriteTableCatalog")
    name = uuid.uuid4().hex
    manager = java_class("org.apache.iceberg.spark.ScanTaskSetManager").get()
    cache = static_method(java_class("org.apache.iceberg.spark.SparkTableCache"), "get")()
    manager.stageTasks(java_table, name, tasks)
    cache.add(name, java_table)
    try:
        return digests_of(table.as_contract(spark.table(f"{FILES_CATALOG}.`{name}`")), with_side=with_side)
    finally:
        cache.remove(name)
        manager.removeTasks(java_table, name)


def digests_of(trades: DataFrame, *, with_side: bool = False) -> dict[int, Digest]:
    """Return the digest of trades by hour; their side is part of it only on request."""
    columns = (*COLUMNS_WITHOUT_SIDE, *((SIDE,) if with_side else ()))
    # A hash skips nulls, so it also covers which columns are null.
    nulls = F.concat(*(F.col(name).isNull().cast("string") for name in columns))
    hashes = [F.xxhash64(F.lit(seed), nulls, *columns) for seed in (1, 2)]
    rows = (
        trades.select(partition_hour().alias("hour"), *(each.alias(f"hash_{n}") for n, each in enumerate(hashes)))
        .where(F.col("hour").between(FIRST_HOUR, LAST_HOUR))
        .groupBy("hour")
        .agg(F.count("*"), *(F.sum(part) for n in range(len(hashes)) for part in _halves(f"hash_{n}")))
        .collect()
    )
    return {row[0]: tuple(row[1:]) for row in rows}


def _halves(name: str) -> tuple[Column, Column]:
    # Summed apart, two billion hashes fit into 64 bits.
    return F.shiftright(name, 32), F.col(name).bitwiseAND(F.lit(LOWER_BITS))


def differing_hours(before: Mapping[int, Digest], after: Mapping[int, Digest]) -> set[int]:
    """Return the hours whose digests differ."""
    return {hour for hour in before.keys() | after.keys() if before.get(hour) != after.get(hour)}


def changed_tasks(
    table: JavaObject, old: JavaObject, new: JavaObject, data: ChangedFiles, deletes: ChangedFiles
) -> tuple[list[JavaObject], list[JavaObject]]:
    """Return the scan tasks, at each of two snapshots, of changed data files and of those with changed deletes."""
    if not any(snapshot.deleteManifests(table.io()) for snapshot in (old, new)):
        before, after = ([_task_without_deletes(table, file) for file in files] for files in (data.removed, data.added))
        return before, after
    changed_deletes = {str(file.location()) for file in deletes}
    sides = [_planned_tasks(table, snapshot) for snapshot in (old, new)]
    # A data file whose deletes changed is read at both snapshots.
    locations = {str(file.location()) for file in data} | {
        location
        for tasks in sides
        for location, task in tasks.items()
        if any(str(file.location()) in changed_deletes for file in task.deletes())
    }
    before, after = ([task for location, task in tasks.items() if location in locations] for tasks in sides)
    return before, after


def _planned_tasks(table: JavaObject, snapshot: JavaObject) -> dict[str, JavaObject]:
    tasks = table.newScan().useSnapshot(snapshot.snapshotId()).includeColumnStats().planFiles()
    found = {str(task.file().location()): task for task in tasks.iterator()}
    tasks.close()
    return found


def _task_without_deletes(table: JavaObject, file: JavaObject) -> JavaObject:
    everything = java_class("org.apache.iceberg.expressions.Expressions").alwaysTrue()
    return java_class("org.apache.iceberg.BaseFileScanTask")(
        file,
        None,
        java_class("org.apache.iceberg.SchemaParser").toJson(table.schema()),
        java_class("org.apache.iceberg.PartitionSpecParser").toJson(table.specs().get(file.specId())),
        java_class("org.apache.iceberg.expressions.ResidualEvaluator").unpartitioned(everything),
    )
