"""Life cycle of a job script: settings, session, retry after a commit conflict, report and exit code."""

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
from ohlcv.model.errors import OhlcvError
from ohlcv.spark.job_protocol import ERROR_PREFIX
from spark_jobs.runtime.failures import describe_failure
from spark_jobs.runtime.parent_watchdog import watch_parents
from spark_jobs.runtime.session import open_session
from spark_jobs.runtime.spark_errors import LostRaceError, first_line, is_lost_race

# Attempts of a job that loses races, and the seconds by which the pause grows with each attempt.
MAX_ATTEMPTS = 5
PAUSE_SECONDS = 2.0


class PhaseTimer:
    """Seconds by phase of a job."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begin = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - begin, 3)

    def finish(self) -> dict[str, float]:
        """Return the seconds of each phase and in total."""
        return {**self.seconds, "total": round(time.monotonic() - self._begin, 3)}


def retry_after_conflicts(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the result of the work. Repeat it when another writer commits first: what it read is out of date.

    This happens also with a write lock: maintenance and other programs commit without it.
    """
    for attempt in range(MAX_ATTEMPTS):
        try:
            return work()
        except (PySparkException, Py4JJavaError, LostRaceError) as error:
            if not isinstance(error, LostRaceError) and not is_lost_race(error):
                raise
            print(f"another writer committed first, trying again: {first_line(error)}", file=sys.stderr, flush=True)
            # The random part prevents two writers from colliding at every attempt.
            time.sleep(PAUSE_SECONDS * (attempt + random.SystemRandom().random()))
    raise OhlcvError(
        f"another writer committed first in {MAX_ATTEMPTS} attempts, nothing was written: "
        "run again when the other writer has finished"
    )


# The work of a job script, given a session. Its result is the report.
Job = Callable[[SparkSession], dict[str, Any]]


def run_job(prepare: Callable[[Settings], tuple[str, Job]]) -> int:
    """Run a job script: the last line of stdout is the report, on failure the last line of stderr is the error."""
    try:
        settings = load_settings()
        name, job = prepare(settings)
        watch_parents()
        spark = open_session(settings, name)
        result = job(spark)
    except OhlcvError as error:
        print(f"{ERROR_PREFIX}{error}", file=sys.stderr, flush=True)
        return error.exit_code
    except Exception as error:
        print(settings.catalog.without_secrets(traceback.format_exc()), file=sys.stderr, end="")
        print(f"{ERROR_PREFIX}{describe_failure(error, settings)}", file=sys.stderr, flush=True)
        return 1
    print(json.dumps(result), flush=True)
    spark.stop()
    return 0
