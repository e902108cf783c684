"""## Compare the candles with published ones

Every day at 06:40 UTC one task compares our candles with those that exchanges published, and stores the results. It
reads the files of `OHLCV_RECONCILE_FOLDER` that were modified in the last days:

    FORMAT/EXCHANGE/SYMBOL/TIMEFRAME/file, such as binance-klines/BINANCE/BTCUSDT/1h/BTCUSDT-1h-2026-03-01.zip

Differences beyond `OHLCV_RECONCILE_TOLERANCES` that no convention of the venue explains are one notification per venue,
series and timeframe. The next run without any sends another one. A file that cannot be read does not stop the others:
the task fails at the end. Without a folder the task is skipped. No candle is changed.

* **`days`**: compare the files that were modified in this number of days.

`ohlcv reconcile` compares single files from the command line.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, Param

from ohlcv.orchestration.callbacks import RECONCILE_DAG, deadline
from ohlcv.orchestration.default_arguments import DAG_OPTIONS, DEFAULT_ARGUMENTS
from ohlcv.orchestration.reconcile_tasks import reconcile_task

# After the exchanges have published the files of the day before.
CRON = "40 6 * * *"
DEADLINE = timedelta(hours=3)

with DAG(
    dag_id=RECONCILE_DAG,
    description="Compare the candles with those that exchanges published",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable(CRON, timezone="UTC"),
    max_active_runs=1,
    default_args=DEFAULT_ARGUMENTS,
    deadline=deadline(DEADLINE),
    tags=["ohlcv", "reconciliation"],
    params={
        "days": Param(
            7, type="integer", minimum=1, maximum=3650, description="Age of the files that are compared, in days."
        ),
    },
    **DAG_OPTIONS,
) as ohlcv_reconcile:
    reconcile_task()
