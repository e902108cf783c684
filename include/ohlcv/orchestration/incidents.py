"""What is an incident: a run that failed, and a limit of health that is crossed.

The callbacks are the DAGs': they run in the DAG processor, also when the task's own process was killed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowFailException

from ohlcv.orchestration.alerts import Notice, close_incident, open_incident
from ohlcv.orchestration.ranges import own_days, own_range
from ohlcv.timeframes import TIMEFRAMES

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ohlcv.health import Measure

RUNBOOK = "OHLCV_RUNBOOK_URL"
DEFAULT_RUNBOOK = "docs/runbook.md"
# The first line of a task's error, left for the DAG's callback, which is given none.
ERROR_KEY = "ohlcv_error"
TASKS = ("aggregate", "validate", "days", "one_day.rebuild", "one_day.validate", "look")


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
    errors = _errors(context) or ["no task left an error: its process was killed, or lost"]
    open_incident(
        _key(context),
        Notice(
            f"{run.dag_id} failed",
            (("Run", run.run_id), ("Range", _range(context)), *(("Error", error) for error in errors)),
            _links(context, "a-run-failed"),
        ),
    )


def run_succeeded(context: Context) -> None:
    """Tell that runs are good again, if they were not."""
    run = context["dag_run"]

    def recovery(since: str) -> Notice:
        facts = (("Run", run.run_id), ("Range", _range(context)), ("Failing since", since))
        return Notice(f"{run.dag_id} is good again", facts, _links(context, "a-run-failed"))

    close_incident(_key(context), recovery)


def judge(measures: list[Measure], context: Context) -> list[str]:
    """Open and close the incidents of health; give the subjects that are in alert."""
    bad = []
    for measure in measures:
        name = f"{measure.subject} {measure.aspect}"
        facts = (("Found", measure.found), ("Should be", measure.target))
        section = SECTIONS.get(measure.aspect, "daily-health-check")
        if measure.state == "alert":
            bad.append(name)
            open_incident(f"health:{name}", Notice(f"OHLCV health: {name}", facts, _links(context, section)))
        elif measure.state != "unknown":

            def recovery(since: str, name: str = name, facts: tuple[tuple[str, str], ...] = facts) -> Notice:
                return Notice(f"OHLCV health: {name} is good again", (*facts, ("In alert since", since)))

            close_incident(f"health:{name}", recovery)
    return bad


# Aspect of a measure -> section of the runbook.
SECTIONS = {
    "candles": "stale-candles",
    "last job": "runs-too-slow",
    "runs in 24 h": "a-run-failed",
    "workers": "a-spark-worker-is-missing",
}


def _key(context: Context) -> str:
    # By kind of run: a backfill that goes well says nothing of the schedule.
    return f"{context['dag_run'].dag_id}:{context['dag_run'].run_type}"


def _errors(context: Context) -> list[str]:
    instance: Any = context.get("ti")
    if instance is None:
        return []
    found = (instance.xcom_pull(task_ids=task_id, key=ERROR_KEY) for task_id in TASKS if _knows(instance, task_id))
    return [str(each) for each in found if each]


def _knows(instance: Any, task_id: str) -> bool:
    return instance.task is not None and task_id in instance.task.dag.task_ids


def _range(context: Context) -> str:
    run, params = context["dag_run"], dict(context.get("params") or {})
    try:
        for timeframe in TIMEFRAMES.values():
            if timeframe.dag_id == run.dag_id:
                return str(own_range(timeframe.name, run, params))
        days = own_days(run, params)
    except AirflowFailException:
        return "none that can be built"
    return f"{days[0]} to {days[-1]}"


def _links(context: Context, section: str) -> tuple[tuple[str, str], ...]:
    run = context["dag_run"]
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    instance: Any = context.get("ti")
    log_page = [("Log", str(instance.log_url))] if instance is not None else []
    return (
        *log_page,
        ("Run", f"{base}/dags/{run.dag_id}/runs/{quote(run.run_id, safe='')}"),
        ("Runbook", f"{os.environ.get(RUNBOOK) or DEFAULT_RUNBOOK}#{section}"),
    )
