"""## Is the house in order?

Every ten minutes a run looks at the age of the candles, the runs of the last day and how long they took, Spark's
workers, and storage; the task's log shows all of it. What crosses a limit is alerted once, and once more when it is
good again, by email and Slack where the connections `smtp_default` and `slack_default` are there.

The same as `ohlcv health`. A market in which nobody trades is quiet, not late.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable

from ohlcv.orchestration.callbacks import deadline, run_failed, run_succeeded
from ohlcv.orchestration.prerequisites import DEFAULT_ARGUMENTS
from ohlcv.orchestration.tasks import look_task

START = datetime(2024, 1, 1, tzinfo=UTC)
DEADLINE = timedelta(minutes=10)

with DAG(
    dag_id="ohlcv_health",
    description="Freshness, runs, durations, workers and storage, with alerts",
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
    look_task()
