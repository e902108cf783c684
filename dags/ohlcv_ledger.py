"""## Record every revision of the candles

Every hour, at minute 52, one task records for all timeframes what has changed since the last run:

* **Publications**: each snapshot that readers saw, when it became visible, and the run that published it.
* **Revisions**: the values of each candle before a publication changed it, with the causes of the change.

So readers can ask what a candle showed at any past moment. The candle runs do no work for it: the task compares the
files of consecutive snapshots. It changes no candle, and it can be repeated at any time.

If snapshots expired before they were recorded, the run records a gap and sends a notification. A failure of one
timeframe does not stop the others: the task fails at the end.

* **`timeframes`**: record only these timeframes.

`ohlcv ledger record` does the same from the command line, and `ohlcv ledger status` shows the state.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable

from ohlcv.config.settings import load_settings
from ohlcv.orchestration.callbacks import LEDGER_DAG, deadline
from ohlcv.orchestration.default_arguments import DAG_OPTIONS, DEFAULT_ARGUMENTS
from ohlcv.orchestration.ledger_tasks import record_task
from ohlcv.orchestration.parameters import timeframes_parameter

# No candle run is due at this minute.
CRON = "52 * * * *"
DEADLINE = timedelta(minutes=40)

with DAG(
    dag_id=LEDGER_DAG,
    description="Record the publications of the candle tables and the values that they replaced",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable(CRON, timezone="UTC"),
    max_active_runs=1,
    default_args=DEFAULT_ARGUMENTS,
    deadline=deadline(DEADLINE),
    tags=["ohlcv", "ledger"],
    params={
        "timeframes": timeframes_parameter(load_settings(), "Timeframes to record."),
    },
    **DAG_OPTIONS,
) as ohlcv_ledger:
    record_task()
