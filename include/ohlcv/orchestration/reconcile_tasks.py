"""Task that compares our candles daily with the published ones of a folder, and notifies differences."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from ohlcv.config.settings import load_settings
from ohlcv.model.errors import OhlcvError
from ohlcv.orchestration.callbacks import RECONCILE_SECTION
from ohlcv.orchestration.incidents import close_incident, key_part, open_incident
from ohlcv.orchestration.links import run_links
from ohlcv.orchestration.notifications import Notification
from ohlcv.orchestration.priority import ScheduleFirst

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ohlcv.reconciliation.report import Reconciliation

log = logging.getLogger(__name__)

# A file has at most about a million candles, and a folder at most some hundred files of the last days.
TIMEOUT = timedelta(minutes=60)
# Differences that a notification lists.
LISTED = 3


def reconcile_task() -> Any:
    """Build the task that reconciles the files of the folder that were modified in the last days."""

    @task(
        task_id="reconcile",
        retries=1,
        execution_timeout=TIMEOUT,
        weight_rule=ScheduleFirst(),
        doc_md="Compare our candles with the files of OHLCV_RECONCILE_FOLDER, and send a notification of differences.",
    )
    def reconcile() -> None:
        settings, context = load_settings(), get_current_context()
        chosen = settings.reconciliation
        if chosen.folder is None:
            raise AirflowSkipException("OHLCV_RECONCILE_FOLDER is not set: there is nothing to compare with")
        # pyiceberg and DuckDB are imported when the task runs, not when DAG files are parsed.
        from ohlcv.reconciliation.folder import reconcile_folder

        # Like the age of a file, the range of a cleared or late run counts from the present.
        now = datetime.now(UTC)
        since = now - timedelta(days=context["params"]["days"])
        report = reconcile_folder(settings, chosen.folder, chosen.tolerances, since, now, report_progress=log.info)
        log.info("%d series of %s compared", len(report.reconciliations), chosen.folder)
        for found in report.reconciliations.values():
            log.info("%s", format_reconciliation(found))
            update_incident(found, context)
        for place, error in report.errors.items():
            log.error("%s: %s", place, error)
        if report.errors:
            first, *others = dict.fromkeys(report.errors.values())
            raise OhlcvError(f"{first}; and {len(others)} other errors in the log" if others else first)

    return reconcile()


def format_reconciliation(found: Reconciliation) -> str:
    """Return the line of a reconciliation for the log."""
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in found.counts.items() if count)
    return "; ".join((f"{found.series}: {counts or 'no window'}", *found.notes))


def update_incident(found: Reconciliation, context: Context) -> None:
    """Open the incident of a venue, series and timeframe with differences, or close it if there are none."""
    results, run = found.results, context["dag_run"]
    names = (results.venue, results.exchange, results.symbol, results.timeframe.name)
    key = f"reconcile:{':'.join(map(key_part, names))}"
    links = run_links(run.dag_id, run.run_id, RECONCILE_SECTION)
    if not found.is_clean():
        facts = (
            ("Compared", format_reconciliation(found)),
            ("Files", ", ".join(path.name for _, path in results.files)),
            *(("Difference", _difference_text(line)) for line in islice(_beyond_tolerance(found), LISTED)),
        )
        open_incident(key, Notification(f"OHLCV reconciliation: {found.series} differs", facts, links))
        return

    def recovery(since: str) -> Notification:
        facts = (("Compared", format_reconciliation(found)), ("Different since", since))
        return Notification(f"OHLCV reconciliation: {found.series} is equal again", facts, links)

    close_incident(key, recovery)


def _beyond_tolerance(found: Reconciliation) -> Any:
    return (line for line in found.lines() if line["result"] != "explained")


def _difference_text(line: dict[str, Any]) -> str:
    values = f": {line['field']} is {line['ours']}, published {line['theirs']}" if line["field"] else ""
    evidence = f" ({line['evidence']})" if line["evidence"] else ""
    return f"{line['window_start']} {line['result']}{values}{evidence}"
