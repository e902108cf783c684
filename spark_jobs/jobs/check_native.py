"""A small native query of the trades table, for `ohlcv doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from spark_jobs.compute.trade_columns import SERIES
from spark_jobs.iceberg.table_metadata import table_name
from spark_jobs.runtime.execution import find_library_problem, native_operators, use_engine
from spark_jobs.runtime.job_runner import Job, run_job

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from ohlcv.config.settings import Settings


def check_native(spark: SparkSession, settings: Settings) -> dict[str, Any]:
    """Return why the library cannot be loaded, or the operators and the number of trades of a query."""
    if problem := find_library_problem():
        return {"problem": problem}
    with use_engine(spark, "native"):
        trades = spark.table(table_name(spark, settings.trades_contract))
        sums = trades.groupBy(*SERIES).agg(F.count("*").alias("trades"), F.sum(F.col("price") * F.col("quantity")))
        counts = [row.trades for row in sums.collect()]
        return {"operators": native_operators(sums), "trades": sum(counts)}


def main() -> int:
    """Run the job and return its exit code."""

    def prepare(settings: Settings) -> tuple[str, Job]:
        return "ohlcv doctor", lambda spark: check_native(spark, settings)

    return run_job(prepare)
