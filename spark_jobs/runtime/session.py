"""The Spark session of a job."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import INPUT_CONVERTER
from pyspark.sql import SparkSession
from pyspark.sql.types import NumpyArrayConverter, NumpyScalarConverter

from ohlcv.config.catalog_properties import REDACTED, spark_properties
from ohlcv.config.settings import Settings
from ohlcv.spark.job_protocol import APPLICATION_ID_PREFIX, CODE_GENERATION_MIN_TRADES
from spark_jobs.runtime.py4j_bridge import cache_class_lookups

# What every job's queries rely on, whatever machine they run on.
SESSION_CONF = {
    "spark.sql.session.timeZone": "UTC",
    # A value that does not fit must be an error, never a NULL: Spark 4's default, and the candles rely on it.
    "spark.sql.ansi.enabled": "true",
    # One run is one small query: planning it again between its stages costs more than it saves.
    "spark.sql.adaptive.enabled": "false",
    # An hour of trades, or a day of candles, is one task: what is grouped by it needs no shuffle.
    "spark.sql.sources.v2.bucketing.enabled": "true",
    "spark.sql.iceberg.planning.preserve-data-grouping": "true",
    # Which line of ours made a column that fails: a stack looked at, and three more questions to the JVM, per column.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    "spark.sql.dataFrameQueryContext.enabled": "false",
    "spark.redaction.regex": REDACTED,
}


# Expression by expression, without generated code.
INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}


@contextmanager
def code_generation_for(spark: SparkSession, trades: int) -> Iterator[None]:
    """Have the queries of the block compiled where they read enough trades to repay it."""
    chosen = INTERPRETED if trades < CODE_GENERATION_MIN_TRADES else {}
    for name, value in chosen.items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name in chosen:
            spark.conf.unset(name)


def open_session(settings: Settings, name: str) -> SparkSession:
    """Start the session; the catalog's address and secrets come from the environment, not the command line."""
    remove_numpy_converters()
    cache_class_lookups()
    properties: dict[str, bool | float | int | str | None] = {
        **spark_properties(settings),
        **authentication_properties(settings),
        **SESSION_CONF,
    }
    spark = SparkSession.builder.appName(name).config(map=properties).getOrCreate()
    # The Airflow task reads it off the log, to link to the application's page while it runs.
    print(f"{APPLICATION_ID_PREFIX}{spark.sparkContext.applicationId}", file=sys.stderr, flush=True)
    return spark


def remove_numpy_converters() -> None:
    """Take out what turns numpy's values into Java's: asked of every argument, it imports pyspark's tests and pandas.

    That takes a second of every job. Where a value of numpy's came along, py4j would refuse it.
    """
    INPUT_CONVERTER[:] = [
        each for each in INPUT_CONVERTER if not isinstance(each, NumpyScalarConverter | NumpyArrayConverter)
    ]


def authentication_properties(settings: Settings) -> dict[str, str]:
    """Know the cluster's secret; Spark keeps this one property to itself, its executors have it from their worker."""
    if settings.spark_secret is None:
        return {}
    return {"spark.authenticate": "true", "spark.authenticate.secret": settings.spark_secret}
