"""Callbacks for run failure, recovery and missed deadlines.

Airflow calls the callbacks of DAGs in the DAG processor, also when the task process was killed, and the callback of a
missed deadline in the triggerer. It stores the path of `deadline_missed`, so that must not be moved or renamed.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from itertools import chain
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert
from airflow.sdk.exceptions import AirflowFailException

from ohlcv.config.settings import load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.timeframes import TIMEFRAMES
from ohlcv.orchestration.deadlines import ScheduledRunCreated
from ohlcv.orchestration.incidents import close_incident, error_fingerprint, open_incident, read_incident
from ohlcv.orchestration.links import run_links
from ohlcv.orchestration.notifications import Notification
from ohlcv.orchestration.run_ranges import as_of_day, dag_run_days, dag_run_range
from ohlcv.spark.job_protocol import ERROR_PREFIX

if TYPE_CHECKING:
    from airflow.sdk import Context

RETENTION_DAG, LEDGER_DAG, COVERAGE_DAG = "ohlcv_retention", "ohlcv_ledger", "ohlcv_coverage"
RECONCILE_DAG, FSCK_DAG = "ohlcv_reconcile", "ohlcv_fsck"
# XCom key of a task's error. Airflow passes the exception to callbacks of tasks, but not to those of DAGs.
ERROR_KEY = "ohlcv_error"
# Sections of docs/runbook.md.
FAILED_SECTION, LATE_SECTION, RETENTION_SECTION = "a-run-failed", "a-run-is-late", "retention-see-first-then-do"
LEDGER_SECTION, COVERAGE_SECTION = "the-ledger-is-behind", "the-coverage-is-behind"
RECONCILE_SECTION, DAMAGE_SECTION = "published-candles-differ", "damaged-files"
_SECTIONS = {
    RETENTION_DAG: RETENTION_SECTION,
    LEDGER_DAG: LEDGER_SECTION,
    COVERAGE_DAG: COVERAGE_SECTION,
    RECONCILE_DAG: RECONCILE_SECTION,
    FSCK_DAG: DAMAGE_SECTION,
}
# What runs without a range of their own read.
_RANGES = {
    LEDGER_DAG: "publications since the last run",
    COVERAGE_DAG: "hours whose trades changed since the last run",
    RECONCILE_DAG: "files of the last days",
    FSCK_DAG: "files of the tables",
}
NO_ERROR = "no error was recorded: the task process was killed or lost"
# Errors in a notification: a reprocessing run can have one for each day.
MAX_ERRORS = 3
# Incident of the health checks that makes runs fail.
WORKERS_INCIDENT = "health:workers"


def task_failed(context: Context) -> None:
    """Store the error of a task for the callback of its DAG, after the last try.

    The task process calls this function. If it was lost, the DAG processor does, without an error, but it cannot store
    an XCom: the function would wait until Airflow kills the process and deactivates all DAGs of the file.
    """
    error = context.get("exception")
    if error is not None:
        context["ti"].xcom_push(key=ERROR_KEY, value=f"{context['ti'].task_id}: {summarize_error(error)}")


def summarize_error(error: object) -> str:
    """Return the line of an error that names the cause: the last one that starts with 'error: ', else the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    messages = [line.removeprefix(ERROR_PREFIX) for line in lines if line.startswith(ERROR_PREFIX)]
    # MemoryError and others have no text.
    return (messages[-1:] or lines or [type(error).__name__])[0][:500]


def run_failed(context: Context) -> None:
    """Open the incident of a failed run."""
    run = _dag_run(context)
    errors = _task_errors(context)
    key = incident_key(run.dag_id, run.run_type)
    shown = errors[:MAX_ERRORS] or [_missing_error(context)]
    if len(errors) > MAX_ERRORS:
        shown.append(f"and {len(errors) - MAX_ERRORS:,} other errors in the run")
    facts = (("Run", run.run_id), ("Range", _context_range_text(context)), *(("Error", error) for error in shown))
    notification = Notification(f"{run.dag_id} failed", facts, _links(context))
    error = error_fingerprint(errors[0]) if errors else ""
    open_incident(key, notification, error=error, suppressed=_has_notified_cause(key, error))


def run_succeeded(context: Context) -> None:
    """Close the incident of a DAG's runs, if one is open."""
    run = _dag_run(context)

    def recovery(since: str) -> Notification:
        facts = (("Run", run.run_id), ("Range", _context_range_text(context)), ("Failing since", since))
        return Notification(f"{run.dag_id} recovered", facts, _links(context))

    close_incident(incident_key(run.dag_id, run.run_type), recovery)


def deadline(interval: timedelta) -> DeadlineAlert:
    """Build the deadline of a DAG: a scheduled run must end within this interval after it was queued."""
    return DeadlineAlert(
        reference=ScheduledRunCreated(),
        interval=interval,
        callback=AsyncCallback(deadline_missed, kwargs={"minutes": interval / timedelta(minutes=1)}),
    )


async def deadline_missed(minutes: float, context: dict[str, Any]) -> None:
    """Open the incident of a late scheduled run. Backfilled runs wait for each other, so they are never late.

    A run can have ended before Airflow calls this function, after a pause of the scheduler.
    """
    run = context["dag_run"]
    if run["run_type"] == "scheduled" and run["state"] not in ("success", "failed"):
        # Reading Variables and sending messages would block the event loop of the triggerer.
        await asyncio.to_thread(_open_late_incident, minutes, context["dag_run"])


def _open_late_incident(minutes: float, run_fields: dict[str, Any]) -> None:
    run = SimpleNamespace(
        dag_id=run_fields["dag_id"],
        run_id=run_fields["dag_run_id"],
        run_after=_parse_time(run_fields["run_after"]),
        data_interval_end=_parse_time(run_fields["data_interval_end"]),
    )
    facts = (
        ("Run", run.run_id),
        ("Range", range_text(run, {})),
        ("Error", f"the run has not ended {minutes:g} minutes after it was queued"),
    )
    key = incident_key(run.dag_id, "scheduled")
    notification = Notification(f"{run.dag_id} is late", facts, run_links(run.dag_id, run.run_id, LATE_SECTION))
    open_incident(key, notification, suppressed=_has_notified_cause(key, ""))


def incident_key(dag_id: str, run_type: str) -> str:
    """Return the key of the incident of a DAG's runs of one type: a good backfill does not prove a good schedule."""
    return f"{dag_id}:{run_type}"


def _has_notified_cause(key: str, error: str) -> bool:
    """Return whether another notified incident explains this one: no Spark worker, or the same error elsewhere."""
    causes = [
        WORKERS_INCIDENT,
        *(incident_key(timeframe.dag_id, "scheduled") for timeframe in load_settings().timeframes.values()),
    ]
    for cause in causes:
        incident = read_incident(cause) if cause != key else None
        if incident and incident.notified and (cause == WORKERS_INCIDENT or (error and incident.error == error)):
            return True
    return False


def _task_errors(context: Context) -> list[str]:
    instance: Any = context.get("ti")
    if instance is None:
        return []
    task_ids = instance.task.dag.task_ids if instance.task is not None else []
    found = (instance.xcom_pull(task_ids=task_id, key=ERROR_KEY) for task_id in task_ids)
    # Several failed tasks of one id, such as days of reprocessing, give a list.
    errors = chain.from_iterable(each if isinstance(each, list) else [each] for each in found)
    return list(dict.fromkeys(str(error) for error in errors if error))


def _missing_error(context: Context) -> str:
    """Return why there is no error of a task: it was lost, or the DAG no longer has the last task of the run."""
    return NO_ERROR if "ti" in context else f"no error was recorded ({context.get('reason') or 'unknown reason'})"


def _dag_run(context: Context) -> Any:
    """Return the run of a callback. Airflow gives only its id if the DAG no longer has the last task of the run."""
    if "dag_run" in context:
        return context["dag_run"]
    run_id = str(context["run_id"])
    run_type = run_id.partition("__")[0]
    return SimpleNamespace(
        dag_id=context["dag"].dag_id,
        run_id=run_id,
        run_type=run_type if run_type in ("scheduled", "backfill") else "manual",
        run_after=None,
        data_interval_end=None,
    )


def _context_range_text(context: Context) -> str:
    return range_text(_dag_run(context), dict(context.get("params") or {}))


def range_text(run: Any, params: dict[str, Any]) -> str:
    """Return the range of a run as text."""
    if run.run_after is None:
        return "unknown"
    try:
        if run.dag_id == RETENTION_DAG:
            return f"as of {as_of_day(run, params)}"
        if run.dag_id in _RANGES:
            return _RANGES[run.dag_id]
        for timeframe in TIMEFRAMES.values():
            if timeframe.dag_id == run.dag_id:
                return str(dag_run_range(timeframe.name, run, params))
        days = dag_run_days(run, params)
    except (AirflowFailException, InputError):
        return "no valid range"
    return f"{days[0]} to {days[-1]}"


def _links(context: Context) -> tuple[tuple[str, str], ...]:
    instance: Any = context.get("ti")
    run = _dag_run(context)
    section = _SECTIONS.get(run.dag_id, FAILED_SECTION)
    return run_links(run.dag_id, run.run_id, section, None if instance is None else str(instance.log_url))


def _parse_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
