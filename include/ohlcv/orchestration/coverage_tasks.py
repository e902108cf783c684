"""Task that records the coverage of the trades hourly."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import task

from ohlcv.config.settings import load_settings
from ohlcv.model.intervals import iso
from ohlcv.orchestration.ledger_tasks import RECORDING_TIMEOUT
from ohlcv.orchestration.priority import ScheduleFirst

if TYPE_CHECKING:
    from ohlcv.coverage.report import CoverageReport

log = logging.getLogger(__name__)


def record_coverage_task() -> Any:
    """Build the task that counts the trades of the hours that changed."""

    @task(
        task_id="record",
        retries=1,
        execution_timeout=RECORDING_TIMEOUT,
        weight_rule=ScheduleFirst(),
        doc_md="Count the trades of every series in the hours whose files changed since the last run.",
    )
    def record() -> None:
        # pyiceberg and DuckDB are imported when the task runs, not when DAG files are parsed.
        from ohlcv.coverage.recording import record_coverage

        # A cleared or late run records the present too: the checkpoint decides which hours are counted.
        report = record_coverage(load_settings(), datetime.now(UTC), report_progress=log.info)
        if report.full:
            log.info("all hours are counted: %s", report.full)
        log.info("%s", format_coverage_report(report))

    return record()


def format_coverage_report(report: CoverageReport) -> str:
    """Return the line of a recording for the log."""
    parts = [
        f"{report.hours:,} hours of {report.series:,} series",
        f"{report.deliveries:,} trades delivered, {report.accepted:,} accepted, {report.rejected:,} rejected",
        *([f"{report.expired_hours:,} hours without source"] if report.expired_hours else []),
        *([f"{report.pending_hours:,} hours are counted by the next runs"] if report.pending_hours else []),
        f"counted until {iso(report.until)}" if report.until else "there are no trades",
        f"{report.seconds:.1f} s",
    ]
    return "; ".join(parts)
