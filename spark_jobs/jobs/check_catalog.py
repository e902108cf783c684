"""Steps that check the catalog through Iceberg's Java library and Spark, for `ohlcv doctor --catalog`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ohlcv.model.catalog_chain import chain_request, check_chain
from ohlcv.model.table_names import Identifier, dotted, spark_name
from spark_jobs.runtime.job_runner import Job, run_job
from spark_jobs.runtime.py4j_bridge import JavaObject, java_class
from spark_jobs.runtime.spark_errors import java_causes

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from ohlcv.config.settings import Settings


class SparkClient:
    """The catalog in Spark; implements `ohlcv.model.catalog_chain.CatalogClient`."""

    def __init__(self, spark: SparkSession, catalog_name: str) -> None:
        self._spark = spark
        self._name = catalog_name
        self._catalog: JavaObject = None

    def connect(self) -> None:
        loader = java_class("org.apache.iceberg.spark.Spark3Util")
        self._catalog = loader.loadIcebergCatalog(self._spark._jsparkSession, self._name)

    def list_tables(self, namespace: Identifier) -> Sequence[str] | None:
        try:
            return [str(found.name()) for found in self._catalog.listTables(_java_name((*namespace, "x")).namespace())]
        except Exception as error:
            if any(text.startswith("NoSuchNamespaceException:") for text in self.error_texts(error)):
                return None
            raise

    def create_namespace(self, namespace: Identifier) -> None:
        self._spark.sql(f"CREATE NAMESPACE {self._quoted(namespace)}")

    def drop_namespace(self, namespace: Identifier) -> None:
        self._spark.sql(f"DROP NAMESPACE IF EXISTS {self._quoted(namespace)}")

    def create_table(self, table: Identifier) -> str:
        self._spark.sql(f"CREATE TABLE {self._quoted(table)} (id BIGINT) USING iceberg")
        return str(self._load(table).location())

    def append_row(self, table: Identifier) -> None:
        self._spark.range(1).writeTo(self._quoted(table)).append()

    def read_rows(self, table: Identifier, limit: int) -> int:
        return len(self._spark.table(self._quoted(table)).take(limit))

    def snapshots(self, table: Identifier) -> Sequence[int]:
        return [int(snapshot.snapshotId()) for snapshot in self._load(table).snapshots()]

    def roll_back(self, table: Identifier, snapshot: int) -> None:
        self._load(table).manageSnapshots().rollbackTo(snapshot).commit()
        self._spark.catalog.refreshTable(self._quoted(table))

    def deletes_files(self, table: Identifier) -> bool | None:
        if not self._catalog.tableExists(_java_name(table)):
            return None
        return str(self._load(table).properties().get("gc.enabled")).lower() != "false"

    def drop_table(self, table: Identifier, purge: bool) -> bool:
        name = _java_name(table)
        return bool(self._catalog.tableExists(name)) and bool(self._catalog.dropTable(name, purge))

    def error_texts(self, error: Exception) -> list[str]:
        texts = [f"{cause.getClass().getSimpleName()}: {cause.getMessage()}" for cause in java_causes(error)]
        return [text.strip().splitlines()[0] for text in texts] or [f"{type(error).__name__}: {error}".splitlines()[0]]

    def _load(self, table: Identifier) -> JavaObject:
        found = self._catalog.loadTable(_java_name(table))
        found.refresh()
        return found

    def _quoted(self, identifier: Identifier) -> str:
        return spark_name(self._name, identifier)


def _java_name(table: Identifier) -> JavaObject:
    return java_class("org.apache.iceberg.catalog.TableIdentifier").parse(dotted(table))


def main() -> int:
    """Run the job and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scratch", required=True, help="name of the scratch table")
    arguments = parser.parse_args()

    def prepare(settings: Settings) -> tuple[str, Job]:
        request = chain_request(settings.names, settings.timeframes, arguments.scratch)

        def job(spark: SparkSession) -> dict[str, Any]:
            client = SparkClient(spark, settings.catalog.name)
            return {"steps": [asdict(result) for result in check_chain(client, request)]}

        return "ohlcv doctor", job

    return run_job(prepare)
