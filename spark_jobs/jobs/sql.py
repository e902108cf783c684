"""SQL statements run by Spark, with their results as JSON."""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING, Any

from spark_jobs.runtime.job_runner import Job, run_job

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from ohlcv.config.settings import Settings


def main() -> int:
    """Run the statements given as arguments and return the exit code."""
    parser = argparse.ArgumentParser(description="Run SQL statements and return their results as JSON.")
    parser.add_argument("--limit", type=int, required=True)
    parser.add_argument("statements", nargs="+")
    arguments = parser.parse_args()
    # PySpark returns times as local times of this process, in which an hour repeats when clocks are set back.
    os.environ["TZ"] = "UTC"
    time.tzset()

    def prepare(settings: Settings) -> tuple[str, Job]:
        def job(spark: SparkSession) -> dict[str, Any]:
            spark.catalog.setCurrentCatalog(settings.catalog.name)
            return {"results": [_result(spark, text, arguments.limit) for text in arguments.statements]}

        return "ohlcv sql", job

    return run_job(prepare)


def _result(spark: SparkSession, statement: str, limit: int) -> dict[str, Any]:
    found = spark.sql(statement.strip().rstrip(";"))
    rows = found.take(limit + 1)
    # As text, because JSON has neither decimals nor times.
    texts = [[None if value is None else str(value) for value in row] for row in rows[:limit]]
    return {"columns": found.columns, "rows": texts, "more": len(rows) > limit}
