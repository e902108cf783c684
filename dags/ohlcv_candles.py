"""## Candles from trades, one DAG per timeframe

A run builds the candles of its range through Spark (`aggregate`) and checks them against the trades by another
engine (`validate`).

* **Scheduled** runs build their lookback, and every older hour whose trades have changed since the last run.
* **Cleared** runs build exactly their own range again. Nothing is committed when nothing changed.
* **Backfilled** runs (`airflow backfill create`, `airflow dags backfill`, or the form) build their interval.
* **Triggered** runs build what the schedule would, or `start` to `end` where given, widened to whole windows.

Rebuilding is safe at any time. All Spark jobs share a pool of one slot: scheduled runs before backfills, small
timeframes before large ones.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, Param

from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.timeframes import TIMEFRAMES, Timeframe
from ohlcv.orchestration.callbacks import deadline, run_failed, run_succeeded
from ohlcv.orchestration.prerequisites import DEFAULT_ARGUMENTS
from ohlcv.orchestration.run_ranges import MACROS
from ohlcv.orchestration.tasks import priority_of, spark_task, validate_task
from ohlcv.spark.spark_submit import templated_job

START = datetime(2024, 1, 1, tzinfo=UTC)
TIMEOUT = timedelta(seconds=300)


def build_dag(settings: Settings, timeframe: Timeframe) -> DAG:
    """Build the DAG of one timeframe."""
    arguments = f"'{timeframe}', dag_run, params"
    job = templated_job(
        settings,
        timeframe.name,
        start=f"{{{{ range_start({arguments}) }}}}",
        end=f"{{{{ range_end({arguments}) }}}}",
        repair="{{ repairs(dag_run, params) }}",
        prune="{{ 'yes' if params.prune else 'no' }}",
        dag_id="{{ dag_run.dag_id }}",
        run_id="{{ dag_run.run_id }}",
    )
    with DAG(
        dag_id=timeframe.dag_id,
        description=f"{timeframe} candles from trades, checked",
        doc_md=__doc__,
        schedule=CronDataIntervalTimetable(timeframe.cron, timezone="UTC"),
        start_date=START,
        catchup=False,
        max_active_runs=1,
        default_args=DEFAULT_ARGUMENTS,
        on_failure_callback=run_failed,
        on_success_callback=run_succeeded,
        deadline=deadline(timeframe.deadline),
        user_defined_macros=MACROS,
        tags=["ohlcv", "candles", timeframe.name],
        params={
            "start": Param(
                None,
                type=["null", "string"],
                format="date-time",
                description="First window; with `end`, instead of the run's own range.",
            ),
            "end": Param(
                None, type=["null", "string"], format="date-time", description="End of the last window, not included."
            ),
            "prune": Param(False, type="boolean", description="Remove candles even where the source hour is empty."),
        },
    ) as dag:
        aggregate = spark_task("aggregate", job, priority_of(timeframe), TIMEOUT)
        aggregate.doc_md = f"Build the {timeframe} candles of the run's range; one commit, or none."
        aggregate >> validate_task(timeframe, settings)
    return dag


_settings = load_settings()
for _name in TIMEFRAMES:
    globals()[f"ohlcv_{_name}"] = build_dag(_settings, _settings.timeframe(_name))
