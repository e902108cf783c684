"""Options of every DAG, and default arguments of their tasks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from ohlcv.orchestration.callbacks import run_failed, run_succeeded, task_failed
from ohlcv.orchestration.parameters import check_run_arguments
from ohlcv.orchestration.run_ranges import RETRIES

OWNER = "market-data"

DEFAULT_ARGUMENTS: dict[str, Any] = {
    "owner": OWNER,
    "retries": RETRIES,
    "retry_delay": timedelta(seconds=60),
    "execution_timeout": timedelta(seconds=300),
    "pre_execute": check_run_arguments,
    "on_failure_callback": task_failed,
}

DAG_OPTIONS: dict[str, Any] = {
    "start_date": datetime(2024, 1, 1, tzinfo=UTC),
    "catchup": False,
    "on_failure_callback": run_failed,
    "on_success_callback": run_succeeded,
}
