"""## Delete expired candles and maintain the tables

Every Sunday at 03:00 UTC, for each timeframe, these tasks run one after another:

* **`plan`** logs which partitions are older than the timeframe's retention: the number of partitions and candles, the
  oldest and the newest partition, and the reason. Only these partitions are deleted.
* **`delete`** deletes the partitions by changing metadata only. The current day or month is never deleted.
* **`compact`** merges the small files of closed partitions.
* **`expire`** expires snapshots older than seven days, but keeps the last hundred, and removes orphan files.
* **`report`** logs the size of the table before and after.

Parameters of the form:

* **`dry_run`**: stop after the plan.
* **`as_of`**: compute ages from this day.
* **`timeframes`**: only these tables.
* **`max_share`**: a plan that would delete a larger share of a table fails and says how to confirm it.

`ohlcv retention` and `ohlcv maintain` do the same from the command line.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, TaskGroup

from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.timeframes import DEFAULT_MAX_SHARE, TIMEFRAMES
from ohlcv.orchestration.callbacks import deadline, run_failed, run_succeeded
from ohlcv.orchestration.default_arguments import DEFAULT_ARGUMENTS
from ohlcv.orchestration.retention_tasks import plan_task, report_task
from ohlcv.orchestration.tasks import MAINTENANCE_WEIGHT, CandleJobOperator, DeleteOperator, spark_task
from ohlcv.spark.spark_submit import maintenance_job

START = datetime(2024, 1, 1, tzinfo=UTC)
TIMEOUT = timedelta(minutes=30)
DEADLINE = timedelta(hours=3)


def build_dag(settings: Settings) -> DAG:
    """Return the DAG."""
    names = list(TIMEFRAMES)
    with DAG(
        dag_id="ohlcv_retention",
        description="Delete expired partitions, compact tables and expire snapshots",
        doc_md=__doc__,
        schedule=CronDataIntervalTimetable("0 3 * * 0", timezone="UTC"),
        start_date=START,
        catchup=False,
        max_active_runs=1,
        default_args=DEFAULT_ARGUMENTS,
        on_failure_callback=run_failed,
        on_success_callback=run_succeeded,
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
            "timeframes": Param(
                names,
                type="array",
                items={"type": "string", "enum": names},
                examples=names,
                minItems=1,
                uniqueItems=True,
                description="Timeframes whose tables are maintained.",
            ),
            "max_share": Param(
                DEFAULT_MAX_SHARE,
                type="number",
                exclusiveMinimum=0,
                maximum=1,
                description="Largest share of a table that one run may delete.",
            ),
        },
    ) as dag:
        for name in names:
            with TaskGroup(group_id=name):
                plan = plan_task(name)
                steps = []
                for step in ("delete", "compact", "expire"):
                    job = maintenance_job(
                        settings,
                        name,
                        steps=step,
                        as_of=f"{{{{ ti.xcom_pull(task_ids='{name}.plan')['as_of'] }}}}",
                        days=f"{{{{ ti.xcom_pull(task_ids='{name}.plan')['days'] | join(',') }}}}"
                        if step == "delete"
                        else "",
                        dag_id="{{ dag_run.dag_id }}",
                        run_id="{{ dag_run.run_id }}",
                    )
                    operator = DeleteOperator if step == "delete" else CandleJobOperator
                    steps.append(spark_task(step, job, MAINTENANCE_WEIGHT, TIMEOUT, operator))
                plan >> steps[0] >> steps[1] >> steps[2] >> report_task(name)
    return dag


ohlcv_retention = build_dag(load_settings())
