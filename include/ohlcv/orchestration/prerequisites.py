"""What a site needs in Airflow beside the DAGs: the pool and the connection, and what may be wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ohlcv.orchestration.callbacks import task_failed

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

SPARK_CONNECTION = "spark_default"
# One slot: Spark jobs of all DAGs, backfills included, run one after another.
SPARK_POOL = "ohlcv_spark"
OWNER = "market-data"

DEFAULT_ARGUMENTS: dict[str, Any] = {
    "owner": OWNER,
    "retries": 2,
    "retry_delay": timedelta(seconds=60),
    "execution_timeout": timedelta(seconds=300),
    "on_failure_callback": task_failed,
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


def spark_connection(master: str) -> dict[str, Any]:
    """Give the connection to a master as `airflow connections import` reads it."""
    # Several masters (spark://a:7077,b:7077): all but the last port are a part of the host.
    host, _, port = master.rpartition(":")
    return {"conn_type": "spark", "host": host, "port": int(port), "extra": {"deploy-mode": "client"}}


def connection_problem(find: Callable[[str], Any]) -> str | None:
    """Tell what is wrong with the connection to Spark, in one line; tasks and services find it by ways of their own."""
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        connection = find(SPARK_CONNECTION)
    except AirflowNotFoundException:
        return (
            f"there is no connection '{SPARK_CONNECTION}': set AIRFLOW_CONN_{SPARK_CONNECTION.upper()}, or run "
            f"'airflow connections add {SPARK_CONNECTION} --conn-type spark --conn-host spark://HOST --conn-port 7077'"
        )
    host = connection.host or ""
    if not host.startswith(("spark://", "local")):
        return f"the connection '{SPARK_CONNECTION}' leads to '{host}', not to a standalone master (spark://HOST)"
    return None


def pool_problem(session: Session) -> str | None:
    """Tell what is wrong with the pool, in one line."""
    from airflow.models.pool import Pool

    pool = Pool.get_pool(SPARK_POOL, session=session)
    cure = f"run 'airflow pools set {SPARK_POOL} 1 \"one Spark job at a time\"'"
    if pool is None:
        return f"there is no pool '{SPARK_POOL}', so that Spark tasks would wait for ever: {cure}"
    if pool.slots != 1:
        return f"the pool '{SPARK_POOL}' has {pool.slots} slots, not one, so that Spark jobs would overlap: {cure}"
    return None
