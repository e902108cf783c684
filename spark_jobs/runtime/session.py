"""Spark session of a job."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from py4j.protocol import INPUT_CONVERTER
from pyspark.sql import SparkSession
from pyspark.sql.types import NumpyArrayConverter, NumpyScalarConverter

from ohlcv.config.catalogs.secrets import REDACTED
from ohlcv.config.execution import NATIVE_PROPERTY
from ohlcv.config.settings import Settings
from ohlcv.spark.job_protocol import APPLICATION_ID_PREFIX, CODE_GENERATION_MIN_TRADES
from spark_jobs.runtime.private_authority import trust_private_authority
from spark_jobs.runtime.py4j_bridge import cache_class_lookups

# Properties that the queries of every job require, on any machine.
SESSION_CONF = {
    "spark.sql.session.timeZone": "UTC",
    # A value that does not fit must be an error, never NULL. This is Spark 4's default, and the candles depend on it.
    "spark.sql.ansi.enabled": "true",
    # A changed bit in a page is an error, not another value, which a rewrite of the file would give a new checksum.
    # Iceberg passes this on for files of a folder, not of an object store.
    "spark.hadoop.parquet.page.verify-checksum.enabled": "true",
    # One run is one small query: adaptive planning between its stages costs more than it saves.
    "spark.sql.adaptive.enabled": "false",
    # An hour of trades or a day of candles is one task, so grouping by it needs no shuffle.
    "spark.sql.sources.v2.bucketing.enabled": "true",
    "spark.sql.iceberg.planning.preserve-data-grouping": "true",
    # Recording which Python line created a column costs a stack inspection and three calls to the JVM per column.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    "spark.sql.dataFrameQueryContext.enabled": "false",
    "spark.redaction.regex": REDACTED,
    # A job with native operators enables them for the aggregation of trades (spark_jobs.runtime.execution).
    NATIVE_PROPERTY: "false",
}


# Property of a session with the name of the catalog.
_CATALOG_NAME = "spark.ohlcv.catalog"
# Evaluate expressions without generated code.
INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}


@contextmanager
def code_generation_for(spark: SparkSession, trades: int) -> Iterator[None]:
    """Disable code generation inside the block if the queries read too few trades to repay the compilation."""
    with properties_set(spark, INTERPRETED if trades < CODE_GENERATION_MIN_TRADES else {}):
        yield


@contextmanager
def properties_set(spark: SparkSession, properties: Mapping[str, str]) -> Iterator[None]:
    """Plan the queries inside the block with these properties of the session."""
    before = {name: spark.conf.get(name, None) for name in properties}
    for name, value in properties.items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                spark.conf.unset(name)
            else:
                spark.conf.set(name, old)


def executor_cores(spark: SparkSession) -> int:
    """Return the number of tasks that run at the same time."""
    context = spark.sparkContext
    if str(context.master).startswith("local"):
        return context.defaultParallelism
    return int(context.getConf().get("spark.cores.max", "1") or 1)


def open_session(settings: Settings, name: str) -> SparkSession:
    """Return a new session. Catalog address and secrets come from the environment, never from the command line."""
    remove_numpy_converters()
    cache_class_lookups()
    properties: dict[str, bool | float | int | str | None] = {
        **catalog_properties(settings),
        **authentication_properties(settings),
        **trust_private_authority(settings.catalog),
        **SESSION_CONF,
    }
    spark = SparkSession.builder.appName(name).config(map=properties).getOrCreate()
    # The Airflow task reads this line to link to the application's page while it runs.
    print(f"{APPLICATION_ID_PREFIX}{spark.sparkContext.applicationId}", file=sys.stderr, flush=True)
    return spark


def catalog_properties(settings: Settings) -> dict[str, str]:
    """Return the properties of the catalog and of its name."""
    return {_CATALOG_NAME: settings.catalog.name, **settings.catalog.spark_properties()}


def catalog_name(spark: SparkSession) -> str:
    """Return the name of the catalog of a session."""
    return str(spark.conf.get(_CATALOG_NAME))


def remove_numpy_converters() -> None:
    """Remove py4j's converters for numpy values: applied to every argument, they import pyspark's tests and pandas.

    That takes one second of every job. py4j raises an error if a numpy value is passed without them.
    """
    INPUT_CONVERTER[:] = [
        each for each in INPUT_CONVERTER if not isinstance(each, NumpyScalarConverter | NumpyArrayConverter)
    ]


def authentication_properties(settings: Settings) -> dict[str, str]:
    """Return the properties that authenticate the driver to the cluster.

    Spark does not pass this secret on to executors; they get it from their worker.
    """
    if settings.spark_secret is None:
        return {}
    return {"spark.authenticate": "true", "spark.authenticate.secret": settings.spark_secret}
