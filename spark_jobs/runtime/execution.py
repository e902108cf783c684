"""Engine that aggregates the trades of a job: its choice, its use, and the restart on the JVM after it failed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from ohlcv.config.execution import NATIVE_OPERATORS, NATIVE_PROPERTY, Engine, Mode, find_jvm_reason
from ohlcv.config.settings import Settings, Tuning
from spark_jobs.runtime.py4j_bridge import java_class
from spark_jobs.runtime.session import properties_set
from spark_jobs.runtime.spark_errors import find_native_failure, first_line

# Why a query ran on the JVM although the native operators were enabled.
NOT_NATIVE = "the native operators cannot run this query"
_PLUGIN = "org.apache.spark.CometPlugin"


@dataclass(frozen=True)
class Execution:
    """The requested mode, and the engine that aggregates the published candles."""

    mode: Mode = "jvm"
    engine: Engine = "jvm"
    # Why the JVM aggregates although native execution is requested.
    reason: str | None = None

    @property
    def is_shadow(self) -> bool:
        """Return whether the run aggregates on both engines."""
        return self.mode == "shadow" and self.reason is None

    def to_json(self) -> dict[str, str]:
        """Return the entry of the report."""
        values = {"requested": self.mode, "engine": self.engine, "reason": self.reason}
        return {name: value for name, value in values.items() if value is not None}


ON_JVM = Execution()


def choose_execution(spark: SparkSession, settings: Settings, tuning: Tuning) -> Execution:
    """Return the mode that the settings request, and the engine that can run it in this session."""
    if tuning.execution == "jvm":
        return ON_JVM
    reason = find_jvm_reason(settings, tuning) or _find_session_reason(spark)
    return Execution(tuning.execution, "jvm" if reason or tuning.execution == "shadow" else "native", reason)


def _find_session_reason(spark: SparkSession) -> str | None:
    context = spark.sparkContext
    if _PLUGIN not in str(context.getConf().get("spark.plugins")):
        return "the job was submitted without its jar: run 'make setup' with the jar set native"
    if str(context.master).startswith("local"):
        return "the master is local, and a native crash would end the driver"
    if problem := find_library_problem():
        return f"its library cannot be loaded ({problem})"
    return None


def find_library_problem() -> str | None:
    """Load the native library into the driver. Return why that is not possible, otherwise None."""
    try:
        is_loaded = java_class("org.apache.comet.NativeBase").isLoaded()
    except (PySparkException, Py4JError) as error:
        return first_line(error)
    return None if is_loaded else "Comet did not load it"


def run_on_engine(
    spark: SparkSession, settings: Settings, tuning: Tuning, work: Callable[[Execution], dict[str, Any]]
) -> dict[str, Any]:
    """Return the report of the work, which is given the execution. Start it again on the JVM after a native failure."""
    execution = choose_execution(spark, settings, tuning)
    if execution.mode != "jvm":
        reason = f", because {execution.reason}" if execution.reason else ""
        _log(f"execution: {execution.engine}{reason} (requested: {execution.mode})")
    try:
        return work(execution)
    except (PySparkException, Py4JJavaError) as error:
        is_native = execution.engine == "native" or execution.is_shadow
        failure = find_native_failure(error)
        if not is_native or failure is None:
            raise
        line = settings.catalog.without_secrets(failure)
        _log(f"execution: native execution failed, the run starts again on the JVM: {line}")
        execution = replace(execution, engine="jvm", reason=f"native execution failed: {line}")
        # Spark would use cached results of the same query again, and compute their lost parts natively.
        spark.catalog.clearCache()
        return work(execution)


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def use_engine(spark: SparkSession, engine: Engine) -> Iterator[None]:
    """Plan the queries inside the block for an engine. Cached results stay as they were planned."""
    with properties_set(spark, {NATIVE_PROPERTY: str(engine == "native").lower()}):
        yield


def native_operators(frame: DataFrame) -> list[str]:
    """Return the names of the native operators in the executed plan of a query, in the order of the plan."""
    query: Any = frame._jdf.queryExecution()
    lines = str(query.executedPlan().toString()).splitlines()
    names = (line.lstrip(" :+-*()0123456789").partition(" ")[0] for line in lines)
    return [name for name in names if name.startswith("Comet")]


def is_native_plan(frame: DataFrame) -> bool:
    """Return whether the table is scanned and the trades are aggregated natively."""
    return set(NATIVE_OPERATORS) <= set(native_operators(frame))


def as_planned(execution: Execution, frame: DataFrame) -> Execution:
    """Return the execution with the engine that the plan of a query shows: Comet leaves to Spark what it cannot run."""
    if execution.engine == "jvm" or is_native_plan(frame):
        return execution
    _log(f"execution: jvm, because {NOT_NATIVE}")
    return replace(execution, engine="jvm", reason=NOT_NATIVE)
