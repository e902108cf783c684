"""Creation and replacement of the views over all timeframes."""

from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession

from ohlcv.config.settings import Settings
from ohlcv.model.table_names import Identifier, dotted, spark_name
from ohlcv.model.views import view_statements
from spark_jobs.iceberg.table_metadata import column_types, load_table
from spark_jobs.runtime.job_runner import Job, run_job


def create_views(spark: SparkSession, settings: Settings) -> dict[str, Any]:
    """Create each view that does not exist, replace each that has another query, and return the names of these views.

    A replaced view keeps its entry in the catalog, so it can be queried at any moment.
    """
    report: dict[str, list[str]] = {"created": [], "replaced": []}
    for view, select in view_statements(
        settings.catalog.name, settings.names, settings.timeframes, _extended(spark, settings)
    ).items():
        stored = _stored_statement(spark, settings, view)
        if stored is None:
            spark.sql(f"CREATE VIEW IF NOT EXISTS {spark_name(settings.catalog.name, view)} AS {select}")
            report["created"].append(dotted(view))
        elif not stored.endswith(f"AS\n{select}"):
            spark.sql(f"CREATE OR REPLACE VIEW {spark_name(settings.catalog.name, view)} AS {select}")
            report["replaced"].append(dotted(view))
    return report


def _extended(spark: SparkSession, settings: Settings) -> list[str]:
    """Return the enabled timeframes whose tables have measures."""
    contracts = {timeframe.name: settings.candles_contract(timeframe) for timeframe in settings.timeframes.values()}
    return [
        name for name, contract in contracts.items() if contract.is_extended(column_types(load_table(spark, contract)))
    ]


def _stored_statement(spark: SparkSession, settings: Settings, view: Identifier) -> str | None:
    """Return the statement that would create a view, which ends with its query; None if there is no such view."""
    catalog = settings.catalog.name
    existing = spark.sql(f"SHOW VIEWS IN {spark_name(catalog, view[:-1])}").collect()
    if view[-1] not in {row.viewName for row in existing}:
        return None
    [row] = spark.sql(f"SHOW CREATE TABLE {spark_name(catalog, view)}").collect()
    return str(row.createtab_stmt).rstrip()


def main() -> int:
    """Run the job and return its exit code."""

    def job(settings: Settings) -> tuple[str, Job]:
        return "ohlcv views", lambda spark: create_views(spark, settings)

    return run_job(job)
