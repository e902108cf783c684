"""Default arguments of the tasks of every DAG."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ohlcv.orchestration.callbacks import task_failed
from ohlcv.orchestration.parameters import check_run_arguments

OWNER = "market-data"

DEFAULT_ARGUMENTS: dict[str, Any] = {
    "owner": OWNER,
    "retries": 2,
    "retry_delay": timedelta(seconds=60),
    "execution_timeout": timedelta(seconds=300),
    "pre_execute": check_run_arguments,
    "on_failure_callback": task_failed,
}
