"""Run SQL statements, and give what they return."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ohlcv.config.catalog_properties import CATALOG_NAME
from spark_jobs.runtime.job_runner import Job, run_job

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from ohlcv.config.settings import Settings


def main() -> int:
    """Run the statements of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, required=True)
    parser.add_argument("statements", nargs="+")
    arguments = parser.parse_args()

    def prepare(_: Settings) -> tuple[str, Job]:
        def job(spark: SparkSession) -> dict[str, Any]:
            spark.catalog.setCurrentCatalog(CATALOG_NAME)
            return {"results": [_result(spark, text, arguments.limit) for text in arguments.statements]}

        return "ohlcv sql", job

    return run_job(prepare)


def _result(spark: SparkSession, statement: str, limit: int) -> dict[str, Any]:
    found = spark.sql(statement.strip().rstrip(";"))
    rows = found.take(limit + 1)
    # As text: a decimal or a time keeps what it is.
    shown = [[None if value is None else str(value) for value in row] for row in rows[:limit]]
    return {"columns": found.columns, "rows": shown, "more": len(rows) > limit}
