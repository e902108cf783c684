"""What a service says at its start of a site that is not ready, and what a task does then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ohlcv.orchestration.prerequisites import spark_connection

READY = '{"conn_type": "spark", "host": "spark://127.0.0.1", "port": 7077}'
# What scheduler, triggerer and DAG processor do first, in a process of its own: Airflow keeps its database for good.
START = """
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


def said_at_start(home: Path, slots: str, connection: str | None) -> list[str]:
    environment = os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "NO_COLOR": "1",
    }
    environment.pop("AIRFLOW_CONN_SPARK_DEFAULT", None)
    if connection is not None:
        environment["AIRFLOW_CONN_SPARK_DEFAULT"] = connection
    result = subprocess.run(
        [sys.executable, "-c", START, slots], env=environment, capture_output=True, text=True, check=True
    )
    lines = (result.stdout + result.stderr).splitlines()
    return [line.partition("ohlcv: ")[2] for line in lines if "ohlcv: " in line]


def test_a_site_that_is_not_ready_is_told_so_when_services_start(tmp_path: Path) -> None:
    pool, connection = said_at_start(tmp_path, "none", None)
    assert pool.startswith(
        "there is no pool 'ohlcv_spark', so that Spark tasks would wait for ever: run 'airflow pools set ohlcv_spark 1"
    )
    assert connection.startswith("there is no connection 'spark_default': set AIRFLOW_CONN_SPARK_DEFAULT, or run")

    pool, connection = said_at_start(tmp_path, "3", '{"conn_type": "spark", "host": "yarn"}')
    assert pool.startswith("the pool 'ohlcv_spark' has 3 slots, not one")
    assert connection.startswith("the connection 'spark_default' leads to 'yarn', not to a standalone master")

    assert said_at_start(tmp_path, "1", READY) == []


@pytest.mark.parametrize(
    ("connection", "complaint"),
    [(None, "there is no connection 'spark_default'"), ('{"conn_type": "spark", "host": "yarn"}', "leads to 'yarn'")],
)
def test_a_task_without_its_connection_fails_at_once(
    monkeypatch: pytest.MonkeyPatch, connection: str | None, complaint: str
) -> None:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk.exceptions import AirflowFailException

    monkeypatch.delenv("AIRFLOW_CONN_SPARK_DEFAULT", raising=False)
    if connection is not None:
        monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", connection)
    task: Any = DagBag(Path(__file__).parents[2] / "dags").dags["ohlcv_1m"].get_task("aggregate")
    with pytest.raises(AirflowFailException, match=complaint):
        task.execute({"ti": SimpleNamespace()})


def test_a_connection_leads_to_one_master_or_several() -> None:
    assert spark_connection("spark://a:7077")["host"] == "spark://a"
    two = spark_connection("spark://a:7077,b:7078")
    assert (two["host"], two["port"]) == ("spark://a:7077,b", 7078)
