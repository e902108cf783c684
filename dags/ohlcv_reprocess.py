"""## Reprocess whole days in all timeframes

One run rebuilds one UTC day in all timeframes from a single read of its trades. Every night at 01:30 UTC a scheduled
run rebuilds the day before. To reprocess history:

* **Backfill** a range of days (`airflow backfill create`, `airflow dags backfill`, or the form in the web UI): one run
  per day.
* **Trigger** with `start` and `end`: one run rebuilds every UTC day of the range, one after another.

Parameters of the form:

* **`timeframes`**: rebuild only these timeframes.
* **`dry_run`**: write nothing. The task log shows how many candles would be inserted, updated and deleted, and the
  largest differences.
* **`prune`**: also delete candles of hours that have no trades at all. By default they are preserved, because the
  trades may have expired.
* **`new_source`**: accept that the trades table was replaced or its mapping changed. The other hours of the new source
  become pending.

The task `days` lists the days. For each day, `rebuild` is one Spark job and `validate` recomputes the candles with
DuckDB. At the end, `progress` logs which days of the timeframes are left, for candle tables that were extended or
timeframes that were enabled later (`ohlcv tables progress`). A scheduled candle run waits for at most one of these
jobs. Each table gets one commit if a candle changed, and none otherwise. The current day is rebuilt up to its last
complete window.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, task_group

from ohlcv.config.settings import Settings, load_settings
from ohlcv.orchestration.callbacks import deadline
from ohlcv.orchestration.default_arguments import DAG_OPTIONS, DEFAULT_ARGUMENTS
from ohlcv.orchestration.parameters import timeframes_parameter
from ohlcv.orchestration.progress_tasks import progress_task
from ohlcv.orchestration.run_ranges import MACROS
from ohlcv.orchestration.tasks import REPROCESS_WEIGHT, days_task, spark_task, validate_day_task
from ohlcv.spark.spark_submit import reprocess_job

TIMEOUT = timedelta(minutes=15)
# A day takes minutes. The rest is time that it may wait for due candle runs without a notification.
DEADLINE = timedelta(hours=1)


def build_dag(settings: Settings) -> DAG:
    """Return the DAG."""
    with DAG(
        dag_id="ohlcv_reprocess",
        description="Rebuild whole days in all timeframes from one read of the trades",
        doc_md=__doc__,
        schedule=CronDataIntervalTimetable("30 1 * * *", timezone="UTC"),
        # A long manual run must not delay the scheduled run of the night.
        max_active_runs=2,
        default_args=DEFAULT_ARGUMENTS,
        deadline=deadline(DEADLINE),
        user_defined_macros=MACROS,
        tags=["ohlcv", "reprocess"],
        params={
            "start": Param(
                None,
                type=["null", "string"],
                format="date-time",
                description="Start of the range (UTC), together with `end`. Every UTC day of the range is rebuilt.",
            ),
            "end": Param(
                None, type=["null", "string"], format="date-time", description="End of the range (UTC), exclusive."
            ),
            "timeframes": timeframes_parameter(settings, "Timeframes to rebuild."),
            "prune": Param(
                False,
                type="boolean",
                description="Also delete candles of hours that have no trades at all. By default they are preserved.",
            ),
            "new_source": Param(
                False, type="boolean", description="Accept that the trades table was replaced or its mapping changed."
            ),
            "dry_run": Param(False, type="boolean", description="Write nothing. The log shows what would change."),
        },
        **DAG_OPTIONS,
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
                new_source="{{ 'yes' if params.new_source else 'no' }}",
                dag_id="{{ dag_run.dag_id }}",
                run_id="{{ dag_run.run_id }}",
            )
            rebuild = spark_task("rebuild", job, REPROCESS_WEIGHT, TIMEOUT)
            rebuild.doc_md = "Rebuild one UTC day, with one commit for each table that changed."
            rebuild >> validate_day_task(day, settings, TIMEOUT)

        one_day.expand(day=days_task()) >> progress_task()
    return dag


ohlcv_reprocess = build_dag(load_settings())
