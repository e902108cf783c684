"""What a site needs in Airflow beside the DAGs: the pool and the connection. One place for their names."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

SPARK_CONNECTION = "spark_default"
# One slot: Spark jobs of all DAGs, backfills included, run one after another.
SPARK_POOL = "ohlcv_spark"
OWNER = "market-data"

DEFAULT_ARGUMENTS: dict[str, Any] = {
    "owner": OWNER,
    "retries": 2,
    "retry_delay": timedelta(seconds=60),
    "execution_timeout": timedelta(seconds=300),
}


def pools() -> dict[str, Any]:
    """Give the pools as `airflow pools import` reads them."""
    return {
        SPARK_POOL: {
            "slots": 1,
            "description": "One Spark job at a time: the cluster is sized for one, and so is the write path.",
            "include_deferred": False,
        }
    }
