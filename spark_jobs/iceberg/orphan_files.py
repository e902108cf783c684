"""Orphan files: files in the folder of a table that no snapshot references, such as those of a killed job.

Files of another table, or of a newer state of the same table, look like orphan files. They appear after a catalog was
replaced or restored from a backup. So the list is checked before anything is deleted.
"""

from __future__ import annotations

from datetime import datetime

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from ohlcv.model.errors import OhlcvError
from ohlcv.model.table_contracts import TableContract
from ohlcv.model.table_names import GIVEN_UP_PREFIX
from spark_jobs.iceberg.table_metadata import COLLECTIONS, table_name
from spark_jobs.runtime.py4j_bridge import JavaObject, java_class
from spark_jobs.runtime.session import catalog_name


def delete_orphans(
    spark: SparkSession, contract: TableContract, table: JavaObject, older_than: datetime, max_share: float
) -> int:
    """Delete the orphan files of a table that are older than a time, and return their number."""
    orphans = find_orphans(spark, contract, table, older_than)
    check_orphans(table, orphans, max_share)
    for location in orphans:
        table.io().deleteFile(location)
    return len(orphans)


def find_orphans(spark: SparkSession, contract: TableContract, table: JavaObject, older_than: datetime) -> list[str]:
    """Return the locations of the orphan files. Nothing is deleted."""
    # Hadoop cannot list s3: paths. Iceberg lists the objects by prefix.
    prefix_listing = str(table.location()).startswith("s3:")
    rows = spark.sql(
        f"""CALL `{catalog_name(spark)}`.system.remove_orphan_files(
            table => '{table_name(spark, contract)}',
            older_than => TIMESTAMP '{older_than:%Y-%m-%d %H:%M:%S} UTC',
            dry_run => true,
            prefix_listing => {str(prefix_listing).lower()}
        )"""
    ).collect()
    return [row.orphan_file_location for row in rows]


def check_orphans(table: JavaObject, orphans: list[str], max_share: float) -> None:
    """Raise OhlcvError if the orphan files are probably in use: by another table, or by a newer state of this one."""
    current = table.operations().current()
    for location in orphans:
        name = location.rpartition("/")[2]
        if not name.endswith((".metadata.json", ".metadata.json.gz")) or name.startswith(GIVEN_UP_PREFIX):
            continue
        try:
            found = java_class("org.apache.iceberg.TableMetadataParser").read(table.io(), location)
        except (Py4JJavaError, PySparkException):
            raise OhlcvError(
                f"no orphan file of {table.name()} was deleted: {location} cannot be read, so it is not known to which "
                "table the files in this folder belong; move it to another place if it is not needed"
            ) from None
        if found.uuid() != current.uuid():
            raise OhlcvError(
                f"no orphan file of {table.name()} was deleted: {location} belongs to another table; if the catalog "
                "was replaced, restore it, otherwise move the files of that table to another place"
            )
        if found.lastUpdatedMillis() > current.lastUpdatedMillis():
            raise OhlcvError(
                f"no orphan file of {table.name()} was deleted: {location} is newer than the state in the catalog; "
                "if the catalog was restored from a backup, run 'ohlcv tables register --replace'"
            )
    if not orphans:
        return
    total = int(java_class(f"{COLLECTIONS}.Iterables").size(table.io().listPrefix(table.location())))
    if (share := len(orphans) / total) > max_share:
        raise OhlcvError(
            f"no orphan file of {table.name()} was deleted: {len(orphans):,} of the {total:,} files in its folder "
            f"({share:.1%}) would be deleted, more than {max_share:.0%}; check that the catalog has the newest state "
            f"of the table, then confirm with 'ohlcv maintain --max-share {min(1.0, share + 0.01):.2f}'"
        )
