"""## Reprocess whole days, all timeframes from one read of the trades

Every night at 01:30 UTC a run rebuilds the day before, whatever happened to it meanwhile. History is reprocessed at a
run per day instead of one per five minutes:

* **Backfill** a range of days (`airflow backfill create`, `airflow dags backfill`, or the form): one run per day.
* **Trigger** with `start` and `end`: one run for every UTC day they touch, day by day. `timeframes` narrows it.
* **`dry_run`** writes nothing: the task's log lists how many candles would be inserted, updated and deleted, and the
  largest differences.
* **`prune`** removes candles even where the source hour holds no trades any more.

A day is one Spark job, so that a due scheduled run never waits for more than one. Each table gets one commit where
something changed, and none where nothing did. Today is rebuilt up to its last complete window.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, task_group

from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.timeframes import TIMEFRAMES
from ohlcv.orchestration.callbacks import deadline, run_failed, run_succeeded
from ohlcv.orchestration.prerequisites import DEFAULT_ARGUMENTS
from ohlcv.orchestration.run_ranges import MACROS
from ohlcv.orchestration.tasks import REPROCESS_WEIGHT, days_task, spark_task, validate_day_task
from ohlcv.spark.spark_submit import reprocess_job

START = datetime(2024, 1, 1, tzinfo=UTC)
TIMEOUT = timedelta(minutes=15)
# A day takes minutes; that it waits for those that are due first is no news.
DEADLINE = timedelta(hours=1)


def build_dag(settings: Settings) -> DAG:
    """Build the DAG."""
    names = list(TIMEFRAMES)
    with DAG(
        dag_id="ohlcv_reprocess",
        description="Whole days rebuilt in all timeframes from one read of the trades",
        doc_md=__doc__,
        schedule=CronDataIntervalTimetable("30 1 * * *", timezone="UTC"),
        start_date=START,
        catchup=False,
        # A long reprocessing must not keep the night's run from its turn.
        max_active_runs=2,
        default_args=DEFAULT_ARGUMENTS,
        on_failure_callback=run_failed,
        on_success_callback=run_succeeded,
        deadline=deadline(DEADLINE),
        user_defined_macros=MACROS,
        tags=["ohlcv", "reprocess"],
        params={
            "start": Param(
                None,
                type=["null", "string"],
                format="date-time",
                description="With `end`: every UTC day they touch, instead of the run's own day.",
            ),
            "end": Param(None, type=["null", "string"], format="date-time", description="Not included."),
            "timeframes": Param(
                names,
                type="array",
                items={"type": "string", "enum": names},
                examples=names,
                minItems=1,
                uniqueItems=True,
                description="Which timeframes to rebuild.",
            ),
            "prune": Param(False, type="boolean", description="Remove candles even where the source hour is empty."),
            "dry_run": Param(False, type="boolean", description="Write nothing; list what would change."),
        },
    ) as dag:

        @task_group(group_id="one_day")
        def one_day(day: str) -> None:
            job = reprocess_job(
                settings,
                day=day,
                until="{{ due(dag_run) }}",
                timeframes="{{ params.timeframes | join(',') }}",
                prune="{{ 'yes' if params.prune else 'no' }}",
                dry_run="{{ 'yes' if params.dry_run else 'no' }}",
                dag_id="{{ dag_run.dag_id }}",
                run_id="{{ dag_run.run_id }}",
            )
            rebuild = spark_task("rebuild", job, REPROCESS_WEIGHT, TIMEOUT)
            rebuild.doc_md = "Rebuild one UTC day; one commit per table that changed, or none."
            rebuild >> validate_day_task(day, settings)

        one_day.expand(day=days_task())
    return dag


ohlcv_reprocess = build_dag(load_settings())
