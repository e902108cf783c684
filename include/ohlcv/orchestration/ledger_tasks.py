"""Ledger tasks: record the publications of the candle tables hourly and before maintenance, and notify gaps."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task

from ohlcv.config.settings import load_settings
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import iso
from ohlcv.orchestration.callbacks import LEDGER_DAG, LEDGER_SECTION, incident_key
from ohlcv.orchestration.incidents import close_incident, open_incident
from ohlcv.orchestration.links import run_links
from ohlcv.orchestration.notifications import Notification
from ohlcv.orchestration.priority import ScheduleFirst

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ohlcv.config.settings import Settings
    from ohlcv.ledger.reports import LedgerReport

log = logging.getLogger(__name__)

# A recording after a long outage takes minutes. Each of its batches is committed, so a retry continues.
RECORDING_TIMEOUT = timedelta(minutes=30)
# Section of docs/runbook.md.
GAP_SECTION = "a-gap-in-the-ledger"


def record_task() -> Any:
    """Build the task that records the ledger of the timeframes of a run."""

    @task(
        task_id="record",
        retries=1,
        execution_timeout=RECORDING_TIMEOUT,
        weight_rule=ScheduleFirst(),
        doc_md="Record every publication since the last run, and the values that it replaced.",
    )
    def record() -> None:
        context = get_current_context()
        errors = record_timeframes(load_settings(), context["params"]["timeframes"], context)
        if errors:
            raise OhlcvError(summarize(errors))

    return record()


def record_timeframes(settings: Settings, names: Sequence[str], context: Context) -> dict[str, str]:
    """Record the ledger of timeframes, log the results and notify gaps. Return the errors by timeframe."""
    # pyiceberg is imported when the task runs, not when DAG files are parsed.
    from ohlcv.iceberg.tables import open_catalog
    from ohlcv.ledger.expiry import try_record

    catalog = open_catalog(settings)
    errors = {}
    for name in names:
        attempt = try_record(settings, settings.timeframe(name), catalog)
        if attempt.report is None:
            errors[name] = str(attempt.error)
            log.error("%s: %s", name, attempt.error)
            continue
        log.info("%s", format_report(attempt.report))
        update_gap_incident(attempt.report, context)
    return errors


def summarize(errors: dict[str, str]) -> str:
    """Return one line about the errors. The same error of several timeframes is named once.

    So it equals that of other DAGs with the same cause, which suppresses its alert.
    """
    different = list(dict.fromkeys(errors.values()))
    if len(different) == 1:
        return different[0]
    return f"the ledger of {', '.join(errors)} was not recorded: {'; '.join(different)}"


def format_report(report: LedgerReport) -> str:
    """Return the line of a recording for the log."""
    if report.unavailable:
        return f"{report.timeframe}: not recorded: {report.unavailable}"
    changes = ", ".join(f"{count:,} {change}" for change, count in report.revisions.items()) or "none"
    number = f", the newest is {report.checkpoint.number}" if report.checkpoint else ""
    recorded = f"{report.publications:,} publications{number}; revisions: {changes}"
    return f"{report.timeframe}: {recorded}; {report.seconds:.1f} s"


def update_gap_incident(report: LedgerReport, context: Context) -> None:
    """Open the incident of a gap that a recording found. The next recording without one closes it."""
    key = f"ledger gap:{report.timeframe}"
    run = context["dag_run"]
    links = run_links(run.dag_id, run.run_id, GAP_SECTION)
    if report.gap is not None:
        begin = iso(report.gap)
        facts = (
            ("Lost", f"publications of {report.timeframe} before {begin}: their snapshots expired before a recording"),
            ("Effect", f"reads as of a time before {begin} are refused; candles and later publications are complete"),
            ("Do", f"keep {LEDGER_DAG} unpaused; if it ran, find what expires snapshots outside of ohlcv_retention"),
        )
        open_incident(key, Notification(f"OHLCV ledger: gap in {report.timeframe}", facts, links))
    elif report.unavailable is None:

        def recovery(since: str) -> Notification:
            facts = (("Gap recorded", since), ("Now", "every publication since the gap is recorded"))
            return Notification(f"OHLCV ledger: {report.timeframe} is recorded again", facts, links)

        close_incident(key, recovery)


def record_before_expiry(settings: Settings, name: str, context: Context) -> str:
    """Record the ledger of a timeframe, and return the time from which expiry must keep snapshots, or nothing.

    A failure does not stop the maintenance. It is the same incident as a failed run of the ledger's DAG, which ends it.
    """
    from ohlcv.ledger.expiry import keep_since

    if error := record_timeframes(settings, [name], context).get(name):
        run = context["dag_run"]
        facts = (("Run", run.run_id), ("Error", f"{name}: {error}"))
        notification = Notification(
            f"{run.dag_id} could not record the ledger", facts, run_links(run.dag_id, run.run_id, LEDGER_SECTION)
        )
        open_incident(incident_key(LEDGER_DAG, "scheduled"), notification)
    found = keep_since(settings, settings.timeframe(name))
    log.info("%s: snapshots that the ledger needs: %s", name, "none" if found is None else f"from {iso(found)} on")
    return "" if found is None else iso(found)
