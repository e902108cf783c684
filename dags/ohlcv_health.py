"""## Pipeline health checks

Every ten minutes a run measures the age of the newest candles, the success rate and the duration of the last day's
runs, the number of Spark workers and the size of the tables. The log of the task `look` lists all measurements.

If a measurement is in alert, the run sends one notification, and another one when the measurement has recovered.
Notifications go by email and Slack if the connections `smtp_default` and `slack_default` exist.

If a market has no new trades, its old candles are `quiet` and not in alert. `ohlcv health` prints the same
measurements.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable

from ohlcv.orchestration.callbacks import deadline
from ohlcv.orchestration.default_arguments import DAG_OPTIONS, DEFAULT_ARGUMENTS
from ohlcv.orchestration.tasks import measure_task

DEADLINE = timedelta(minutes=10)

with DAG(
    dag_id="ohlcv_health",
    description="Measure freshness, runs, Spark workers and storage, and send notifications",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("*/10 * * * *", timezone="UTC"),
    max_active_runs=1,
    default_args=DEFAULT_ARGUMENTS | {"retries": 1, "retry_delay": timedelta(seconds=30)},
    deadline=deadline(DEADLINE),
    tags=["ohlcv", "health"],
    **DAG_OPTIONS,
) as ohlcv_health:
    measure_task()
