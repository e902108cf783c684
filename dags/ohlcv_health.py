"""## Pipeline health checks

Every ten minutes a run measures the age of the newest candles, the success rate and the duration of the last day's
runs, the number of Spark workers and the size of the tables. The log of the task `look` lists all measurements.

If a measurement is in alert, the run sends one notification, and another one when the measurement has recovered.
Notifications go by email and Slack if the connections `smtp_default` and `slack_default` exist.

If a market has no new trades, its old candles are `quiet` and not in alert. `ohlcv health` prints the same
measurements.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable

from ohlcv.orchestration.callbacks import deadline, run_failed, run_succeeded
from ohlcv.orchestration.default_arguments import DEFAULT_ARGUMENTS
from ohlcv.orchestration.tasks import measure_task

START = datetime(2024, 1, 1, tzinfo=UTC)
DEADLINE = timedelta(minutes=10)

with DAG(
    dag_id="ohlcv_health",
    description="Measure freshness, runs, Spark workers and storage, and send notifications",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("*/10 * * * *", timezone="UTC"),
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGUMENTS | {"retries": 1, "retry_delay": timedelta(seconds=30)},
    on_failure_callback=run_failed,
    on_success_callback=run_succeeded,
    deadline=deadline(DEADLINE),
    tags=["ohlcv", "health"],
) as ohlcv_health:
    measure_task()
