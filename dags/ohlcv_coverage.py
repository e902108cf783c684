"""## Record the coverage of the trades

Every hour, at minute 22, one task counts what each series contains in the hours whose trade files changed since the
last run: accepted, repeated, corrected and rejected trades, source sequences, minutes with trades, arrival delays.

So readers can tell an hour without trades from one without data. Candle runs do no work for it. A late trade changes
the files of its hour, and the next run counts that hour again. A run counts at most about 20 million trades, the newest
hours first; the others follow in the next runs. The task can be repeated at any time.

`ohlcv coverage record` does the same from the command line, and `ohlcv coverage` shows the states of the hours.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable

from ohlcv.orchestration.callbacks import COVERAGE_DAG, deadline
from ohlcv.orchestration.coverage_tasks import record_coverage_task
from ohlcv.orchestration.default_arguments import DAG_OPTIONS, DEFAULT_ARGUMENTS

# No candle run is due at this minute.
CRON = "22 * * * *"
DEADLINE = timedelta(minutes=40)

with DAG(
    dag_id=COVERAGE_DAG,
    description="Count the trades of each series and hour, with gaps, repetitions and rejections",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable(CRON, timezone="UTC"),
    max_active_runs=1,
    default_args=DEFAULT_ARGUMENTS,
    deadline=deadline(DEADLINE),
    tags=["ohlcv", "coverage"],
    **DAG_OPTIONS,
) as ohlcv_coverage:
    record_coverage_task()
