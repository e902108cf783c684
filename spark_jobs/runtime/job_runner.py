"""Life of a job script: settings, session, retry after a lost commit race, report and exit code."""

from __future__ import annotations

import json
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.write_lock import uses_write_lock
from ohlcv.model.errors import OhlcvError
from spark_jobs.runtime.parent_watchdog import watch_parents
from spark_jobs.runtime.session import open_session
from spark_jobs.runtime.spark_errors import first_line, is_lost_race

# Where no lease keeps writers apart, one that was overtaken starts over: this often, and after so many seconds more.
TRIES = 5
PAUSE_SECONDS = 2.0


class PhaseTimer:
    """Seconds by phase."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begin = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - begin, 3)

    def finish(self) -> dict[str, float]:
        """Give the phases and their total."""
        return {**self.seconds, "total": round(time.monotonic() - self._begin, 3)}


def retry_after_conflicts(settings: Settings, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do the whole work again where no lease holds other writers off, and one came first: what was read is old."""
    if uses_write_lock(settings):
        return work()
    for attempt in range(TRIES):
        try:
            return work()
        except (PySparkException, Py4JJavaError) as error:
            if not is_lost_race(error):
                raise
            print(f"another writer came first, once more: {first_line(error)}", file=sys.stderr, flush=True)
            # Two that keep overtaking each other must fall out of step.
            time.sleep(PAUSE_SECONDS * (attempt + random.SystemRandom().random()))
    raise OhlcvError(f"{TRIES} times another writer came first: nothing was written; run again when it rests")


# What a script does once it has a session; its result is the report.
Job = Callable[[SparkSession], dict[str, Any]]


def run_job(prepare: Callable[[Settings], tuple[str, Job]]) -> int:
    """Run a job script: the report is the last line on stdout, an error the last on stderr."""
    try:
        settings = load_settings()
        name, job = prepare(settings)
        watch_parents()
        spark = open_session(settings, name)
        result = job(spark)
    except OhlcvError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except (PySparkException, Py4JJavaError) as error:
        traceback.print_exc()
        print(f"error: Spark failed: {first_line(error)}", file=sys.stderr, flush=True)
        return 1
    print(json.dumps(result), flush=True)
    spark.stop()
    return 0
