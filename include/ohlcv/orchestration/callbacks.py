"""What is told of runs: one that failed, one that is late, and that they are good again.

Those of runs are called in the DAG processor, also when the task's own process was killed; that of a missed deadline
in the triggerer.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert
from airflow.sdk.exceptions import AirflowFailException

from ohlcv.model.errors import InputError
from ohlcv.model.timeframes import TIMEFRAMES
from ohlcv.orchestration.deadlines import ScheduledRunCreated
from ohlcv.orchestration.incidents import close_incident, gist, open_incident, standing
from ohlcv.orchestration.links import run_links
from ohlcv.orchestration.notifications import Notice
from ohlcv.orchestration.run_ranges import as_of_day, own_days, own_range

if TYPE_CHECKING:
    from airflow.sdk import Context

RETENTION = "ohlcv_retention"
# The first line of a task's error, left for the DAG's callback, which is given none.
ERROR_KEY = "ohlcv_error"
SECTION, LATE_SECTION, RETENTION_SECTION = "a-run-failed", "a-run-is-late", "retention-see-first-then-do"
NO_ERROR = "no task left an error: its process was killed, or lost"
# Health's incident that makes runs fail by itself.
NO_WORKERS = "health:workers"


def task_failed(context: Context) -> None:
    """Keep the first line of a task's error; runs in the task's process, after the last try."""
    context["ti"].xcom_push(key=ERROR_KEY, value=f"{context['ti'].task_id}: {first_line(context.get('exception'))}")


def first_line(error: object) -> str:
    """Find the line that says what went wrong: a job's last words begin with 'error: '."""
    lines = [line.strip() for line in str(error or "no error was given").splitlines() if line.strip()]
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (told[-1] if told else lines[0])[:500]


def run_failed(context: Context) -> None:
    """Tell of a run that failed."""
    run = context["dag_run"]
    errors = _errors(context)
    key = incident_of(run.dag_id, run.run_type)
    facts = (("Run", run.run_id), ("Range", _range(context)), *(("Error", error) for error in errors or [NO_ERROR]))
    notice = Notice(f"{run.dag_id} failed", facts, _links(context))
    error = gist(errors[0]) if errors else ""
    open_incident(key, notice, error=error, follows=_follows(key, error))


def run_succeeded(context: Context) -> None:
    """Tell that runs are good again, if they were not."""
    run = context["dag_run"]

    def recovery(since: str) -> Notice:
        facts = (("Run", run.run_id), ("Range", _range(context)), ("Failing since", since))
        return Notice(f"{run.dag_id} is good again", facts, _links(context))

    close_incident(incident_of(run.dag_id, run.run_type), recovery)


def deadline(interval: timedelta) -> DeadlineAlert:
    """Have a scheduled run that has not ended this long after it was queued told of."""
    return DeadlineAlert(
        reference=ScheduledRunCreated(),
        interval=interval,
        callback=AsyncCallback(deadline_missed, kwargs={"minutes": interval / timedelta(minutes=1)}),
    )


async def deadline_missed(minutes: float, context: dict[str, Any]) -> None:
    """Tell of a scheduled run that is late; those of a backfill wait for each other, and that is no news."""
    if context["dag_run"]["run_type"] == "scheduled":
        # Variables and messages block; the triggerer's loop must not.
        await asyncio.to_thread(_tell_late, minutes, context["dag_run"])


def _tell_late(minutes: float, told_run: dict[str, Any]) -> None:
    run = SimpleNamespace(
        dag_id=told_run["dag_id"],
        run_id=told_run["dag_run_id"],
        run_after=_time(told_run["run_after"]),
        data_interval_end=_time(told_run["data_interval_end"]),
    )
    facts = (
        ("Run", run.run_id),
        ("Range", range_text(run, {})),
        ("Error", f"the run has not ended {minutes:g} minutes after it was queued"),
    )
    key = incident_of(run.dag_id, "scheduled")
    notice = Notice(f"{run.dag_id} is late", facts, run_links(run.dag_id, run.run_id, LATE_SECTION))
    open_incident(key, notice, follows=_follows(key, ""))


def incident_of(dag_id: str, run_type: str) -> str:
    """Name the incident of a DAG's runs: by kind of run, for a backfill that goes well says nothing of the schedule."""
    return f"{dag_id}:{run_type}"


def _follows(key: str, error: str) -> bool:
    """Tell whether an incident that has been told explains this one: no worker is left, or another's error is ours."""
    told = [NO_WORKERS, *(incident_of(timeframe.dag_id, "scheduled") for timeframe in TIMEFRAMES.values())]
    for other in told:
        found = standing(other) if other != key else None
        if found and found.told and (other == NO_WORKERS or (error and found.error == error)):
            return True
    return False


def _errors(context: Context) -> list[str]:
    instance: Any = context.get("ti")
    if instance is None:
        return []
    task_ids = instance.task.dag.task_ids if instance.task is not None else []
    found = (instance.xcom_pull(task_ids=task_id, key=ERROR_KEY) for task_id in task_ids)
    return [str(each) for each in found if each]


def _range(context: Context) -> str:
    return range_text(context["dag_run"], dict(context.get("params") or {}))


def range_text(run: Any, params: dict[str, Any]) -> str:
    """Say which range a run is about."""
    try:
        if run.dag_id == RETENTION:
            return f"as of {as_of_day(run, params)}"
        for timeframe in TIMEFRAMES.values():
            if timeframe.dag_id == run.dag_id:
                return str(own_range(timeframe.name, run, params))
        days = own_days(run, params)
    except (AirflowFailException, InputError):
        return "none that can be built"
    return f"{days[0]} to {days[-1]}"


def _links(context: Context) -> tuple[tuple[str, str], ...]:
    instance: Any = context.get("ti")
    run = context["dag_run"]
    section = RETENTION_SECTION if run.dag_id == RETENTION else SECTION
    return run_links(run.dag_id, run.run_id, section, None if instance is None else str(instance.log_url))


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
