"""## Record the coverage of the trades

Every hour, at minute 22, one task counts what each series contains in the hours whose trade files changed since the
last run: accepted, repeated, corrected and rejected trades, source sequences, minutes with trades, arrival delays.

So readers can tell an hour without trades from one without data. Candle runs do no work for it. A late trade changes
the files of its hour, and the next run counts that hour again. A run counts at most about 20 million trades, the newest
hours first; the others follow in the next runs. The task can be repeated at any time.

`ohlcv coverage record` does the same from the command line, and `ohlcv coverage` shows the states of the hours.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable

from ohlcv.orchestration.callbacks import COVERAGE_DAG, deadline, run_failed, run_succeeded
from ohlcv.orchestration.coverage_tasks import record_coverage_task
from ohlcv.orchestration.default_arguments import DEFAULT_ARGUMENTS

START = datetime(2024, 1, 1, tzinfo=UTC)
# No candle run is due at this minute.
CRON = "22 * * * *"
DEADLINE = timedelta(minutes=40)

with DAG(
    dag_id=COVERAGE_DAG,
    description="Count the trades of each series and hour, with gaps, repetitions and rejections",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable(CRON, timezone="UTC"),
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGUMENTS,
    on_failure_callback=run_failed,
    on_success_callback=run_succeeded,
    deadline=deadline(DEADLINE),
    tags=["ohlcv", "coverage"],
) as ohlcv_coverage:
    record_coverage_task()
