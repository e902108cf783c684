"""Retention tasks that need no Spark: the plan before the changes and the report after them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from ohlcv.config.settings import load_settings
from ohlcv.model.errors import InputError
from ohlcv.orchestration.priority import ScheduleFirst
from ohlcv.orchestration.run_ranges import as_of_day

log = logging.getLogger(__name__)

# Field of the plan's XCom: the size of the table before the changes.
BEFORE_KEY = "before"


def plan_task(name: str) -> Any:
    """Build the task that plans the deletions in one table. In a dry run it skips the tasks after it."""

    @task.short_circuit(
        task_id="plan", weight_rule=ScheduleFirst(), doc_md=f"Log which {name} partitions have expired."
    )
    def plan() -> dict[str, Any] | bool:
        # pyiceberg is imported when the task runs, not when DAG files are parsed.
        from ohlcv.iceberg.retention_plan import measure_table, plan_retention

        context = get_current_context()
        params = dict(context["params"])
        if name not in params["timeframes"]:
            raise AirflowSkipException("this timeframe is not among the timeframes of the run")
        settings = load_settings()
        timeframe = settings.timeframe(name)
        try:
            day = as_of_day(context["dag_run"], params)
            found = plan_retention(settings, timeframe, day, datetime.now(UTC).date(), params["max_share"])
        except InputError as error:
            # An invalid parameter and a plan that must be confirmed do not change with a retry.
            raise AirflowFailException(str(error)) from None
        for line in format_plan(found.to_json()):
            log.info("%s", line)
        if params["dry_run"]:
            log.info("dry run: nothing is changed")
            return False
        before = measure_table(settings, timeframe)
        return {**found.to_json(), BEFORE_KEY: before.to_json()}

    return plan()


def format_plan(plan: dict[str, Any]) -> list[str]:
    """Return the lines of a plan for the log."""
    head = f"{plan['timeframe']}: {plan['reason']}"
    if not plan["partitions"]:
        return [head, "  no partition has expired"]
    return [
        head,
        f"  partitions  {plan['partitions']:,}, {plan['oldest']} to {plan['newest']}",
        f"  candles     {plan['rows']:,}, {plan['share']:.1%} of the table",
        f"  files       {plan['files']:,}, {plan['bytes'] / 2**20:,.1f} MiB",
    ]


def report_task(name: str) -> Any:
    """Build the task that logs the size of one table before and after the changes."""

    @task(task_id="report", weight_rule=ScheduleFirst(), doc_md=f"Log the size of the {name} table before and after.")
    def report() -> None:
        from ohlcv.iceberg.retention_plan import measure_table

        context = get_current_context()
        before = context["ti"].xcom_pull(task_ids=f"{name}.plan")[BEFORE_KEY]
        settings = load_settings()
        after = measure_table(settings, settings.timeframe(name)).to_json()
        log.info("%-16s %14s %14s", name, "before", "after")
        for key, value in after.items():
            log.info("%-16s %14s %14s", key.replace("_", " "), f"{before[key]:,}", f"{value:,}")

    return report()
