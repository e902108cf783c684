"""Check of native execution: a job with a small native query on tables of its own."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime, timedelta
from typing import Any

from ohlcv.config.execution import NATIVE_OPERATORS, find_jvm_reason
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.errors import OhlcvError
from ohlcv.setup.class_data_sharing import job_settings
from ohlcv.spark.spark_submit import native_check_job, run

# In this process of Spark a native crash ends only the check.
MASTER = "local[1]"
# A start of Spark takes 5 s, and a minute on a busy machine.
SECONDS = 180
TRADES = 1000
_REMEDY = "jobs run on the JVM; set OHLCV_NATIVE=no, or correct this and run 'ohlcv doctor' again"


def check_native_query() -> None:
    """Raise OhlcvError if a small query of trades is not scanned and aggregated natively."""
    found = run_native_query()
    if problem := found.get("problem"):
        raise OhlcvError(f"the native library cannot be loaded ({problem}): {_REMEDY}")
    missing = [name for name in NATIVE_OPERATORS if name not in found["operators"]]
    if missing or found["trades"] != TRADES:
        raise OhlcvError(f"a query did not run natively ({', '.join(missing) or 'wrong result'}): {_REMEDY}")


def run_native_query() -> dict[str, Any]:
    """Return the report of the job."""
    from ohlcv.iceberg.tables import create_tables
    from ohlcv.ingest.loader import append_trades
    from ohlcv.ingest.sample_data import Feed

    begin = datetime(2026, 3, 1, tzinfo=UTC)
    with tempfile.TemporaryDirectory() as folder:
        home = job_settings(folder)
        own = load_settings(home)
        create_tables(own)
        append_trades(own, Feed(begin).batch(begin + timedelta(hours=1), TRADES))
        result = run(native_check_job(own), MASTER, home, SECONDS)
    if result.exit_code:
        raise OhlcvError(f"the native query failed ({result.error}): {_REMEDY}")
    report: dict[str, Any] = json.loads(result.last_line)
    return report


def describe_use(settings: Settings) -> str:
    """Return which jobs request native execution, or why none uses it."""
    enabled = {name: settings.tuning[name] for name in settings.timeframes}
    jobs = {"reprocessing": settings.reprocess_tuning, **enabled}
    requested = {name: find_jvm_reason(settings, tuning) for name, tuning in jobs.items() if tuning.execution != "jvm"}
    if used := [name for name, reason in requested.items() if reason is None]:
        return f"used by: {', '.join(used)}"
    return f"not used, because {next(iter(requested.values()), 'no job requests it')}"
