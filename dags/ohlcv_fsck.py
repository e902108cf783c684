"""## Check the files of the tables for damage

Every Sunday at 06:00 UTC one task reads the catalog file, and the metadata and data files of all tables completely. It
compares checksums of pages, numbers of rows, bounds and partitions, so it finds what no reader notices: a changed bit
on a disk, a file that was lost or truncated. Nothing is changed.

A damaged file fails the task: the alert names the file, what depends on it and the command that repairs it. All
damaged files are in the log. Files that only earlier states need are reported in the log.

* **`timeframes`**: check the candles of only these timeframes.
* **`trades`**, **`records`**: also check the trades, and the tables of ledger, coverage and reconciliation.
* **`since`**: read only data files that were committed at or after this time; of others check existence and size.

`ohlcv fsck` does the same from the command line.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, Param

from ohlcv.config.settings import load_settings
from ohlcv.orchestration.callbacks import FSCK_DAG, deadline
from ohlcv.orchestration.default_arguments import DAG_OPTIONS, DEFAULT_ARGUMENTS
from ohlcv.orchestration.fsck_tasks import fsck_task
from ohlcv.orchestration.parameters import timeframes_parameter

# Few people work and few tables are maintained then.
CRON = "0 6 * * 0"
DEADLINE = timedelta(hours=7)

with DAG(
    dag_id=FSCK_DAG,
    description="Check the files of the tables for damage",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable(CRON, timezone="UTC"),
    max_active_runs=1,
    default_args=DEFAULT_ARGUMENTS,
    deadline=deadline(DEADLINE),
    tags=["ohlcv", "fsck"],
    params={
        "timeframes": timeframes_parameter(load_settings(), "Timeframes whose candles are checked."),
        "trades": Param(True, type="boolean", description="Also check the trades."),
        "records": Param(
            True, type="boolean", description="Also check the tables of ledger, coverage and reconciliation."
        ),
        "since": Param(
            None,
            type=["null", "string"],
            format="date-time",
            description="Read only data files that were committed at or after this time.",
        ),
    },
    **DAG_OPTIONS,
) as ohlcv_fsck:
    fsck_task()
