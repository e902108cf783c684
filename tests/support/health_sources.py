"""Sources of the health checks without Spark and Airflow: tables with one candle each, and two web servers."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables
from ohlcv.ledger.recording import record
from ohlcv.model.intervals import iso
from ohlcv.model.summary_keys import COVERAGE_UNTIL
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES
from support.candle_rows import candle, write_candles
from support.json_server import json_server
from support.ledger_rows import add_coverage_rows

START = datetime(2026, 3, 1, tzinfo=UTC)


@contextmanager
def filled_settings(home: Path) -> Iterator[Settings]:
    """Yield the settings of an installation in which every health check finds a value."""
    with json_server(responses()) as web:
        settings = load_settings(
            {
                "OHLCV_HOME": str(home),
                "OHLCV_SPARK_WEB": web,
                "OHLCV_AIRFLOW_URL": web,
                "OHLCV_AIRFLOW_USER": "health",
                "OHLCV_AIRFLOW_PASSWORD": "hunter2",
            }
        )
        create_tables(settings)
        for timeframe in DEFAULT_TIMEFRAMES.values():
            write_candles(settings, timeframe, candle(timeframe, START))
            record(settings, timeframe)
        until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        newest = (until - timedelta(hours=1)).replace(tzinfo=None).isoformat()
        add_coverage_rows(settings, newest, properties={COVERAGE_UNTIL: iso(until)})
        yield settings
        gc.collect()


def responses() -> dict[str, object]:
    """Return the responses of Airflow's REST API and of the Spark master: one run per DAG, and one worker."""
    dag_ids = [timeframe.dag_id for timeframe in DEFAULT_TIMEFRAMES.values()]
    answers: dict[str, object] = {
        "/json/": {"workers": [{"state": "ALIVE", "cores": 1, "memory": 1024}]},
        "/auth/token": {"access_token": "t"},
        "/api/v2/dags": {"dags": [{"dag_id": dag_id} for dag_id in dag_ids]},
    }
    for dag_id in dag_ids:
        runs = f"/api/v2/dags/{dag_id}/dagRuns"
        answers[runs] = {"dag_runs": [{"dag_run_id": "r", "state": "success"}], "total_entries": 1}
        answers[f"{runs}/r/taskInstances"] = {"task_instances": [{"task_id": "aggregate", "duration": 9.5}]}
    return answers
