"""The tasks of retention that need no Spark: the plan before, and the report after."""

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

# What the table took up before, left by the plan for the report.
BEFORE_KEY = "before"


def plan_task(name: str) -> Any:
    """Make the task that plans what goes from one table, and ends the chain where nothing is to be done."""

    @task.short_circuit(task_id="plan", weight_rule=ScheduleFirst(), doc_md=f"Show which {name} candles would go.")
    def plan() -> dict[str, Any] | bool:
        # pyiceberg is loaded where the task runs, not where DAG files are parsed.
        from ohlcv.iceberg.retention_plan import measure_table, plan_retention

        context = get_current_context()
        params = dict(context["params"])
        if name not in params["timeframes"]:
            raise AirflowSkipException("not among the timeframes of this run")
        settings = load_settings()
        timeframe = settings.timeframe(name)
        try:
            day = as_of_day(context["dag_run"], params)
            found = plan_retention(settings, timeframe, day, datetime.now(UTC).date(), params["max_share"])
        except InputError as error:
            # What cannot be meant, or has to be confirmed, is the same at the next try.
            raise AirflowFailException(str(error)) from None
        for line in described(found.to_json()):
            log.info("%s", line)
        if params["dry_run"]:
            log.info("a dry run: nothing is changed")
            return False
        before = measure_table(settings, timeframe)
        return {**found.to_json(), BEFORE_KEY: before.to_json()}

    return plan()


def described(plan: dict[str, Any]) -> list[str]:
    """Write a plan for a log."""
    head = f"{plan['timeframe']}: {plan['reason']}"
    if not plan["partitions"]:
        return [head, "  nothing is older"]
    return [
        head,
        f"  partitions  {plan['partitions']:,}, of {plan['oldest']} to {plan['newest']}",
        f"  candles     {plan['rows']:,}, {plan['share']:.1%} of the table",
        f"  files       {plan['files']:,}, {plan['bytes'] / 2**20:,.1f} MiB",
    ]


def report_task(name: str) -> Any:
    """Make the task that shows what a run did to one table."""

    @task(task_id="report", weight_rule=ScheduleFirst(), doc_md=f"Show the {name} table before and after.")
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
