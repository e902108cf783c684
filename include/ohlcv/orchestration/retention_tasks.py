"""Retention tasks that need no Spark: the plan before the changes and the report after them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import TriggerRule, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from ohlcv.config.maintained_tables import RECORD_TABLES, maintained_table
from ohlcv.config.settings import load_settings
from ohlcv.orchestration.ledger_tasks import RECORDING_TIMEOUT, record_before_expiry
from ohlcv.orchestration.parameters import invalid_input_fails
from ohlcv.orchestration.priority import ScheduleFirst
from ohlcv.orchestration.run_ranges import as_of_day

if TYPE_CHECKING:
    from ohlcv.iceberg.retention_plan import RetentionPlan

log = logging.getLogger(__name__)

# Field of the plan's XCom: the size of the table before the changes.
BEFORE_KEY = "before"
# Field of the plan's XCom: time from which the ledger needs the snapshots.
KEEP_SINCE_KEY = "keep_since"
RECORDS_GROUP = "records"


def plan_task(name: str) -> Any:
    """Build the task that plans the deletions in one table. In a dry run it skips the tasks after it.

    It also records the ledger, whose snapshots must not expire before.
    """

    @task.short_circuit(
        task_id="plan",
        execution_timeout=RECORDING_TIMEOUT,
        # The plan of the records does not depend on this one.
        ignore_downstream_trigger_rules=False,
        weight_rule=ScheduleFirst(),
        doc_md=f"Log which {name} partitions have expired, and record the ledger.",
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
        # Also for a plan that must be confirmed, which does not change with a retry.
        with invalid_input_fails():
            day = as_of_day(context["dag_run"], params)
            found = plan_retention(settings, timeframe, day, datetime.now(UTC).date(), params["max_share"])
        for line in format_plan(found.to_json()):
            log.info("%s", line)
        if params["dry_run"]:
            log.info("dry run: nothing is changed")
            return False
        before = measure_table(settings, found.table.contract)
        recorded = record_before_expiry(settings, name, context)
        return {**found.to_json(), BEFORE_KEY: before.to_json(), KEEP_SINCE_KEY: recorded}

    return plan()


def format_plan(plan: dict[str, Any]) -> list[str]:
    """Return the lines of a plan for the log."""
    head = f"{plan['subject']}: {plan['reason']}"
    if not plan["partitions"]:
        return [head, "  no partition has expired"]
    return [
        head,
        f"  partitions  {plan['partitions']:,}, {plan['oldest']} to {plan['newest']}",
        f"  rows        {plan['rows']:,}, {plan['share']:.1%} of the table",
        f"  files       {plan['files']:,}, {plan['bytes'] / 2**20:,.1f} MiB",
    ]


def report_task(name: str) -> Any:
    """Build the task that logs the size of one table before and after the changes."""

    @task(task_id="report", weight_rule=ScheduleFirst(), doc_md=f"Log the size of the {name} table before and after.")
    def report() -> None:
        context = get_current_context()
        _log_sizes(name, context["ti"].xcom_pull(task_ids=f"{name}.plan")[BEFORE_KEY])

    return report()


def plan_records_task() -> Any:
    """Build the task that plans the deletions in the record tables, after those of the candles.

    In a dry run it skips the tasks after it.
    """

    @task.short_circuit(
        task_id="plan",
        # Also after a failure in one timeframe.
        trigger_rule=TriggerRule.ALL_DONE,
        weight_rule=ScheduleFirst(),
        doc_md="Log which partitions of ledger, coverage and reconciliation have expired.",
    )
    def plan() -> dict[str, Any] | bool:
        from ohlcv.iceberg.retention_plan import (
            RecordTables,
            check_max_share,
            has_expired_candles,
            measure_table,
            plan_record_retention,
        )

        context = get_current_context()
        params = dict(context["params"])
        settings = load_settings()
        tables = RecordTables.find(settings)
        if tables.missing:
            log.warning("nothing is maintained of %s", tables.missing)
        with invalid_input_fails():
            # The plans of the candles have failed already.
            check_max_share(params["max_share"])
            day = as_of_day(context["dag_run"], params)
            plans = plan_record_retention(settings, tables.names, params["timeframes"], day, datetime.now(UTC).date())
        for line in (line for found in plans for line in format_plan(found.to_json())):
            log.info("%s", line)
        if params["dry_run"]:
            log.info("dry run: nothing is changed")
            return False
        # Reads of the past undo revisions, so those of a stored candle must not be deleted. The others explain it.
        left = [name for name in params["timeframes"] if has_expired_candles(settings, settings.timeframe(name), day)]
        for name in left:
            log.warning("%s: its expired candles were not deleted, so its records are not deleted either", name)
        return {
            "as_of": day.isoformat(),
            "days": {table: days_of(plans, table, left) for table in tables.names},
            BEFORE_KEY: {
                table: measure_table(settings, maintained_table(settings, table).contract).to_json()
                for table in tables.names
            },
        }

    return plan()


def days_of(plans: Sequence[RetentionPlan], table: str, left: Sequence[str]) -> list[str]:
    """Return the partitions to delete from a table, without those of some timeframes."""
    return [day for plan in plans if plan.table.name == table and plan.timeframe not in left for day in plan.days]


def report_records_task() -> Any:
    """Build the task that logs the sizes of the record tables before and after the changes."""

    @task(
        task_id="report",
        # The job of a table that does not exist is skipped.
        trigger_rule=TriggerRule.NONE_FAILED,
        weight_rule=ScheduleFirst(),
        doc_md="Log the sizes of the record tables before and after.",
    )
    def report() -> None:
        before = get_current_context()["ti"].xcom_pull(task_ids=f"{RECORDS_GROUP}.plan")[BEFORE_KEY]
        for name in RECORD_TABLES:
            if name in before:
                _log_sizes(name, before[name])

    return report()


def _log_sizes(name: str, before: dict[str, int]) -> None:
    from ohlcv.iceberg.retention_plan import measure_table

    settings = load_settings()
    after = measure_table(settings, maintained_table(settings, name).contract).to_json()
    log.info("%-16s %14s %14s", name, "before", "after")
    for key, value in after.items():
        log.info("%-16s %14s %14s", key.replace("_", " "), f"{before[key]:,}", f"{value:,}")
