"""Task that logs what is left to reprocess in the timeframes of a reprocessing run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task

from ohlcv.config.settings import load_settings
from ohlcv.orchestration.priority import ScheduleFirst

if TYPE_CHECKING:
    from ohlcv.config.settings import Settings
    from ohlcv.readers.table_progress import TableProgress

log = logging.getLogger(__name__)


def progress_task() -> Any:
    """Build the task that logs the progress of the timeframes of a run."""

    @task(
        task_id="progress",
        retries=1,
        execution_timeout=timedelta(minutes=5),
        weight_rule=ScheduleFirst(),
        doc_md="Log how many candles have measures and which days are left to reprocess, as `ohlcv tables progress`.",
    )
    def progress() -> None:
        log_progress(load_settings(), get_current_context()["params"]["timeframes"])

    return progress()


def log_progress(settings: Settings, names: Sequence[str]) -> None:
    """Log the progress of timeframes. A failure is logged and does not fail the run, whose candles are validated."""
    # pyiceberg is imported when the task runs, not when DAG files are parsed.
    from ohlcv.iceberg.catalog_errors import described_catalog_errors
    from ohlcv.model.errors import OhlcvError
    from ohlcv.readers.table_progress import read_progress

    try:
        with described_catalog_errors(settings):
            # A cleared or late run logs the present too.
            found = read_progress(settings, names, datetime.now(UTC))
    except OhlcvError as error:
        log.warning("the progress is unknown: %s", error)
        return
    for each in found:
        log.info("%s", format_progress(each))


def format_progress(progress: TableProgress) -> str:
    """Return the progress of a timeframe as a line of the log."""
    parts = [f"{progress.days_built:,} of {progress.days_with_trades:,} days with trades are built"]
    if progress.is_extended:
        parts.append(f"{progress.measured:,} of {progress.candles:,} candles have measures")
    if progress.to_reprocess:
        first, last = progress.to_reprocess[0][0], progress.to_reprocess[-1][1]
        parts.append(f"{progress.days_left:,} days are left to reprocess, {first} to {last}")
    if progress.days_expired:
        parts.append(f"{progress.days_expired:,} days cannot be, because their trades have expired")
    return f"{progress.timeframe}: {'; '.join(parts)}"
