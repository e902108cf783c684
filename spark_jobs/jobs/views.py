"""Creation of the views over all timeframes."""

from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession

from ohlcv.config.settings import Settings
from ohlcv.model.table_contracts import view_statements
from ohlcv.model.table_names import dotted, spark_name
from spark_jobs.runtime.job_runner import Job, run_job


def create_views(spark: SparkSession, settings: Settings) -> dict[str, Any]:
    """Create each view that does not exist, and return the names of these views."""
    created = []
    catalog = settings.catalog.name
    for view, select in view_statements(catalog, settings.names, settings.timeframes).items():
        existing = spark.sql(f"SHOW VIEWS IN {spark_name(catalog, view[:-1])}").collect()
        if view[-1] not in {row.viewName for row in existing}:
            spark.sql(f"CREATE VIEW IF NOT EXISTS {spark_name(catalog, view)} AS {select}")
            created.append(dotted(view))
    return {"created": created}


def main() -> int:
    """Run the job and return its exit code."""

    def job(settings: Settings) -> tuple[str, Job]:
        return "ohlcv views", lambda spark: create_views(spark, settings)

    return run_job(job)
