"""## Delete expired candles and maintain the tables

Every Sunday at 03:00 UTC, for each timeframe, these tasks run one after another:

* **`plan`** logs which partitions are older than the timeframe's retention: the number of partitions and candles, the
  oldest and the newest partition, and the reason. Only these partitions are deleted. Then it records the ledger,
  because snapshots that are not recorded must not expire.
* **`delete`** deletes the partitions by changing metadata only. The current day or month is never deleted.
* **`compact`** merges the small files of closed partitions.
* **`expire`** expires snapshots older than seven days, but keeps the last hundred and for at most 14 days those that
  the ledger has not recorded, and removes orphan files.
* **`report`** logs the size of the table before and after.

The group `records` does the same with the tables of ledger, coverage and reconciliation, after the candles are deleted.
It deletes whole months of each timeframe, and days of the coverage when no candle needs them any more.

Parameters of the form:

* **`dry_run`**: stop after the plan.
* **`as_of`**: compute ages from this day.
* **`timeframes`**: only the tables of these timeframes, and what is recorded of them.
* **`max_share`**: a plan that would delete a larger share of a table fails and says how to confirm it.

`ohlcv retention` and `ohlcv maintain` do the same from the command line.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, TaskGroup

from ohlcv.config.maintained_tables import RECORD_TABLES
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.timeframes import DEFAULT_MAX_SHARE
from ohlcv.orchestration.callbacks import deadline
from ohlcv.orchestration.default_arguments import DAG_OPTIONS, DEFAULT_ARGUMENTS
from ohlcv.orchestration.parameters import timeframes_parameter
from ohlcv.orchestration.retention_tasks import (
    RECORDS_GROUP,
    plan_records_task,
    plan_task,
    report_records_task,
    report_task,
)
from ohlcv.orchestration.tasks import (
    MAINTENANCE_WEIGHT,
    CandleJobOperator,
    DeleteOperator,
    RecordTableOperator,
    spark_task,
)
from ohlcv.spark.spark_submit import maintenance_job

TIMEOUT = timedelta(minutes=30)
DEADLINE = timedelta(hours=3)


def build_dag(settings: Settings) -> DAG:
    """Return the DAG."""
    with DAG(
        dag_id="ohlcv_retention",
        description="Delete expired partitions, compact tables and expire snapshots",
        doc_md=__doc__,
        schedule=CronDataIntervalTimetable("0 3 * * 0", timezone="UTC"),
        max_active_runs=1,
        default_args=DEFAULT_ARGUMENTS,
        deadline=deadline(DEADLINE),
        tags=["ohlcv", "retention"],
        params={
            "dry_run": Param(False, type="boolean", description="Log the plans and change nothing."),
            "as_of": Param(
                None,
                type=["null", "string"],
                format="date",
                description="UTC day from which ages are computed. Default: the day on which the run was due.",
            ),
            "timeframes": timeframes_parameter(settings, "Timeframes whose tables are maintained."),
            "max_share": Param(
                DEFAULT_MAX_SHARE,
                type="number",
                exclusiveMinimum=0,
                maximum=1,
                description="Largest share of a table that one run may delete.",
            ),
        },
        **DAG_OPTIONS,
    ) as dag:
        deletions = []
        for name in settings.timeframes:
            with TaskGroup(group_id=name):
                plan = plan_task(name)
                steps = [step_task(settings, name, step) for step in ("delete", "compact", "expire")]
                plan >> steps[0] >> steps[1] >> steps[2] >> report_task(name)
                deletions.append(steps[0])
        with TaskGroup(group_id=RECORDS_GROUP):
            plan, report = plan_records_task(), report_records_task()
            for name in RECORD_TABLES:
                plan >> record_table_task(settings, name) >> report
        deletions >> plan
    return dag


def step_task(settings: Settings, name: str, step: str) -> CandleJobOperator:
    """Build the task of one step of the maintenance of a candle table."""
    plan = f"ti.xcom_pull(task_ids='{name}.plan')"
    job = maintenance_job(
        settings,
        name,
        steps=step,
        as_of=f"{{{{ {plan}['as_of'] }}}}",
        days=f"{{{{ {plan}['days'] | join(',') }}}}" if step == "delete" else "",
        keep_since=f"{{{{ {plan}['keep_since'] }}}}" if step == "expire" else None,
        dag_id="{{ dag_run.dag_id }}",
        run_id="{{ dag_run.run_id }}",
    )
    operator = DeleteOperator if step == "delete" else CandleJobOperator
    return spark_task(step, job, MAINTENANCE_WEIGHT, TIMEOUT, operator)


def record_table_task(settings: Settings, name: str) -> CandleJobOperator:
    """Build the task that maintains a record table, with all steps in one job. It is skipped if there is no table."""
    plan = f"ti.xcom_pull(task_ids='{RECORDS_GROUP}.plan')"
    job = maintenance_job(
        settings,
        name,
        steps="delete,compact,expire",
        as_of=f"{{{{ {plan}['as_of'] if '{name}' in {plan}['days'] else '' }}}}",
        days=f"{{{{ {plan}['days'].get('{name}', []) | join(',') }}}}",
        dag_id="{{ dag_run.dag_id }}",
        run_id="{{ dag_run.run_id }}",
    )
    return spark_task(name, job, MAINTENANCE_WEIGHT, TIMEOUT, RecordTableOperator)


ohlcv_retention = build_dag(load_settings())
