"""The Airflow pool and connection that the DAGs require, and checks for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

SPARK_CONNECTION = "spark_default"
# Port of a Spark master whose address has none.
DEFAULT_PORT = 7077
# One slot: the Spark jobs of all DAGs, backfills included, run one after another.
SPARK_POOL = "ohlcv_spark"


def pools() -> dict[str, Any]:
    """Return the pools in the format of `airflow pools import`."""
    return {
        SPARK_POOL: {
            "slots": 1,
            "description": "One Spark job at a time: the cluster is sized for one, and so is the write path.",
            "include_deferred": False,
        }
    }


def spark_connection(master: str) -> dict[str, Any]:
    """Return the connection to a Spark master in the format of `airflow connections import`."""
    connection: dict[str, Any] = {"conn_type": "spark", "host": master, "extra": {"deploy-mode": "client"}}
    # With several masters (spark://a:7077,b:7077) everything before the last port is the host.
    if found := re.fullmatch(r"(spark://.*?)(?::(\d+))?", master):
        connection |= {"host": found[1], "port": int(found[2] or DEFAULT_PORT)}
    return connection


def connection_problem(get_connection: Callable[[str], Any]) -> str | None:
    """Return what is wrong with the Spark connection, in one line, or None.

    Tasks and services read connections in different ways, so the caller passes the function that reads one.
    """
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        connection = get_connection(SPARK_CONNECTION)
    except AirflowNotFoundException:
        return (
            f"there is no connection '{SPARK_CONNECTION}': set AIRFLOW_CONN_{SPARK_CONNECTION.upper()}, or run "
            f"'airflow connections add {SPARK_CONNECTION} --conn-type spark --conn-host spark://HOST --conn-port 7077'"
        )
    host = connection.host or ""
    if not host.startswith(("spark://", "local")):
        return (
            f"the connection '{SPARK_CONNECTION}' has the host '{host}', which is not a standalone master: "
            "set it to spark://HOST"
        )
    return None


def pool_problem(session: Session) -> str | None:
    """Return what is wrong with the pool, in one line, or None."""
    from airflow.models.pool import Pool

    pool = Pool.get_pool(SPARK_POOL, session=session)
    command = f"run 'airflow pools set {SPARK_POOL} 1 \"one Spark job at a time\"'"
    if pool is None:
        return f"there is no pool '{SPARK_POOL}', so Spark tasks would never start: {command}"
    if pool.slots != 1:
        return f"the pool '{SPARK_POOL}' has {pool.slots} slots instead of 1, so Spark jobs would overlap: {command}"
    return None
