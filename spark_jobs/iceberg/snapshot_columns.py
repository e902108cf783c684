"""Columns of a snapshot as the table has them now.

Spark reads a snapshot with the schema of its commit. A column may have been renamed, widened, added or replaced since.
Iceberg identifies it by its field id; the column that a present one replaced has its name and type.
"""

from __future__ import annotations

import json

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from spark_jobs.compute.mapped_trades import quoted
from spark_jobs.runtime.py4j_bridge import JavaObject, java_class


def with_present_columns(rows: DataFrame, table: JavaObject, snapshot: int) -> DataFrame:
    """Return the rows of a snapshot with the present names and types of the table's columns."""
    present = table.schema()
    written = java_class("org.apache.iceberg.util.SnapshotUtil").schemaFor(table, snapshot)
    if written.schemaId() == present.schemaId():
        return rows
    converted = java_class("org.apache.iceberg.spark.SparkSchemaUtil").convert(present)
    columns = []
    for column, field in zip(present.columns(), StructType.fromJson(json.loads(converted.json())), strict=True):
        stored = written.findField(column.fieldId())
        if stored is None:
            stored = written.findField(column.name())
            stored = stored if stored is not None and stored.type().equals(column.type()) else None
        value = F.lit(None) if stored is None else F.col(quoted(str(stored.name())))
        columns.append(value.cast(field.dataType).alias(field.name))
    return rows.select(*columns)
