"""Upgrade of a home of the first release (tests/fixtures/first_release): tables, and Airflow's database."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from ohlcv.config.settings import load_settings
from ohlcv.coverage.recording import record_coverage
from ohlcv.iceberg.relocation import relocate_tables
from ohlcv.iceberg.retention_plan import plan_retention
from ohlcv.iceberg.tables import create_tables, extend
from ohlcv.ledger.recording import record
from ohlcv.model.intervals import Range, floor_time
from ohlcv.quality.validator import validate
from ohlcv.readers.candles import read_candles
from ohlcv.readers.latest import newest_trade
from support.harness import WIDTHS, Harness, at
from support.reference_model import TRADE_COLUMNS, Trade

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests" / "fixtures" / "first_release" / "home.tar.xz"
# The first release had reprocessed this day, and the next one until ten o'clock.
DAY = at("2026-11-26 00:00")
END = at("2026-11-27 10:30")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def upgraded(spark: SparkSession, home: Path) -> Harness:
    """Return the tables after the steps of docs/operations.md (Upgrade)."""
    settings = load_settings({"OHLCV_HOME": str(home)})
    relocate_tables(settings)
    assert len(create_tables(settings)) > 0
    harness = Harness(spark, home)
    rows = harness.table().scan(selected_fields=TRADE_COLUMNS).to_arrow().to_pylist()
    harness.trades = [Trade(**row) for row in rows]
    return harness


def test_scheduled_runs_of_upgraded_tables_build_the_late_trades_of_the_first_release(upgraded: Harness) -> None:
    settings = upgraded.settings
    before = {name: upgraded.stored(name) for name in WIDTHS}
    repaired = {}
    for name, timeframe in settings.timeframes.items():
        end = floor_time(END, timeframe.length)
        report = upgraded.build(name, end - timeframe.lookback, end, rebuild_pending=True)
        repaired[name] = str(report["repaired_hours"])
        span = Range(DAY, end)
        found = {key: value for key, value in upgraded.candles(name).items() if key[2] < int(end.timestamp()) * 10**6}
        assert found == upgraded.expected(name, (DAY, end)).candles
        # A candle that the first release had built right keeps its times.
        for key, stored in upgraded.stored(name).items():
            if (old := before[name].get(key)) is not None and old.candle == stored.candle:
                assert stored == old
        # The late trades of the sample have numbers of their own, so sequences have gaps (WARN).
        assert [each for each in validate(settings, timeframe, span).findings if each.severity == "FAIL"] == []
        assert record(settings, timeframe).publications > 0
        assert read_candles(settings, timeframe).num_rows == len(upgraded.stored(name))
        plan = plan_retention(settings, timeframe, END.date(), END.date(), 0.5)
        assert plan.rows == 0
    assert "2026-11-27T05" in repaired["1m"]
    assert record_coverage(settings, END + timedelta(hours=1)).hours > 20
    assert newest_trade(settings) is not None
    # The measures of today's version.
    extend(settings, settings.candles_contract(settings.timeframe("1h")))
    upgraded.build("1h", DAY, floor_time(END, timedelta(hours=1)))
    measured = upgraded.measures("1h")
    expected = upgraded.expected_measures("1h", (DAY, floor_time(END, timedelta(hours=1))))
    assert {key: measured[key] for key in expected} == expected


def test_the_database_of_the_first_release_migrates_and_keeps_runs_incidents_and_pool(home: Path) -> None:
    database = home / "airflow" / "airflow.db"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "OHLCV"))}
    environment |= {
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "OHLCV_HOME": str(home),
    }

    def airflow(*arguments: str) -> str:
        command = [str(Path(sys.executable).with_name("airflow")), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        # Warnings come first.
        return done.stdout.strip().splitlines()[-1]

    airflow("db", "migrate")
    airflow("dags", "reserialize")
    runs = json.loads(airflow("dags", "list-runs", "ohlcv_1m", "--output", "json"))
    assert [run["state"] for run in runs] == ["success"] * 9
    incident = json.loads(airflow("variables", "get", "ohlcv_incident:ohlcv_5m:manual"))
    assert list(incident) == ["since", "told", "follows", "error"]
    assert datetime.fromisoformat(incident["since"]) < datetime(2026, 11, 28, tzinfo=UTC)
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT slots FROM slot_pool WHERE pool = 'ohlcv_spark'").fetchall() == [(1,)]
        # DAGs that were unpaused stay so; new ones are paused.
        paused = dict(connection.execute("SELECT dag_id, is_paused FROM dag").fetchall())
    assert not paused["ohlcv_1m"]
    assert paused["ohlcv_ledger"]
