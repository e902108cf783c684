"""Reports of a missing pool or connection when services start, and the failure of tasks without a connection."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ohlcv.orchestration.prerequisites import pool_problem, spark_connection

VALID_CONNECTION = '{"conn_type": "spark", "host": "spark://127.0.0.1", "port": 7077}'
# The first steps of scheduler, triggerer and DAG processor. They run in a separate process because Airflow keeps its
# database connection for the lifetime of the process.
START_SERVICE = """
import logging
from airflow.utils.db import initdb
initdb()
from airflow.models.pool import Pool
from airflow.jobs.job import Job
from airflow.utils.session import create_session
import sys
if sys.argv[1] != "none":
    with create_session() as session:
        Pool.create_or_update_pool("ohlcv_spark", int(sys.argv[1]), "", False, session=session)
Job()
"""


def problems_at_start(home: Path, slots: str, connection: str | None) -> list[str]:
    """Start a service and return the problems that this package logs."""
    environment = os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "NO_COLOR": "1",
    }
    environment.pop("AIRFLOW_CONN_SPARK_DEFAULT", None)
    if connection is not None:
        environment["AIRFLOW_CONN_SPARK_DEFAULT"] = connection
    result = subprocess.run(
        [sys.executable, "-c", START_SERVICE, slots], env=environment, capture_output=True, text=True, check=True
    )
    lines = (result.stdout + result.stderr).splitlines()
    return [line.partition("ohlcv: ")[2] for line in lines if "ohlcv: " in line]


def test_missing_prerequisites_are_logged_when_services_start(tmp_path: Path) -> None:
    pool, connection = problems_at_start(tmp_path, "none", None)
    assert pool.startswith(
        "there is no pool 'ohlcv_spark', so Spark tasks would never start: run 'airflow pools set ohlcv_spark 1"
    )
    assert connection.startswith("there is no connection 'spark_default': set AIRFLOW_CONN_SPARK_DEFAULT, or run")

    # Nothing is wrong with the connection.
    [pool] = problems_at_start(tmp_path, "3", VALID_CONNECTION)
    assert pool.startswith("the pool 'ohlcv_spark' has 3 slots instead of 1")


def test_a_pool_with_one_slot_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.models.pool import Pool

    monkeypatch.setattr(Pool, "get_pool", lambda *_, **__: SimpleNamespace(slots=1))
    session: Any = None
    assert pool_problem(session) is None


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        (None, "there is no connection 'spark_default'"),
        ('{"conn_type": "spark", "host": "yarn"}', "has the host 'yarn'"),
    ],
)
def test_a_task_without_its_connection_fails_at_once(
    monkeypatch: pytest.MonkeyPatch, connection: str | None, message: str
) -> None:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk.exceptions import AirflowFailException

    monkeypatch.delenv("AIRFLOW_CONN_SPARK_DEFAULT", raising=False)
    if connection is not None:
        monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", connection)
    task: Any = DagBag(Path(__file__).parents[2] / "dags").dags["ohlcv_1m"].get_task("aggregate")
    with pytest.raises(AirflowFailException, match=message):
        task.execute({"ti": SimpleNamespace()})


def test_a_connection_has_one_master_or_several() -> None:
    assert spark_connection("spark://a:7077")["host"] == "spark://a"
    two = spark_connection("spark://a:7077,b:7078")
    assert (two["host"], two["port"]) == ("spark://a:7077,b", 7078)


@pytest.mark.parametrize(
    ("master", "host", "port"),
    [
        ("spark://a", "spark://a", 7077),
        ("spark://a:7078,b", "spark://a:7078,b", 7077),
        ("local", "local", None),
        ("local[2]", "local[2]", None),
    ],
)
def test_a_connection_needs_no_port(master: str, host: str, port: int | None) -> None:
    found = spark_connection(master)
    assert (found["host"], found.get("port")) == (host, port)


def test_the_prerequisites_import_no_airflow() -> None:
    """The demo imports them in its own process, which needs no Airflow."""
    script = "import sys, ohlcv.orchestration.prerequisites; print('airflow' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
