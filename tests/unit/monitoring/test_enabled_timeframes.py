"""Health checks, the doctor and adoption measure the enabled timeframes only."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.adoption import plan_adoption
from ohlcv.iceberg.tables import create_tables
from ohlcv.ledger.recording import record
from ohlcv.model.catalog_chain import chain_request
from ohlcv.model.errors import OhlcvError
from ohlcv.monitoring import doctor, health
from ohlcv.monitoring.airflow_client import AirflowApi
from ohlcv.monitoring.ledger_check import check_ledger

NAMES = ["15m", "4h"]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
AIRFLOW = {"OHLCV_AIRFLOW_URL": "http://127.0.0.1:1", "OHLCV_AIRFLOW_USER": "u", "OHLCV_AIRFLOW_PASSWORD": "p"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = load_settings({"OHLCV_HOME": str(tmp_path), "OHLCV_TIMEFRAMES": ",".join(NAMES), **AIRFLOW})
    create_tables(found)
    return found


def test_every_measurement_is_of_an_enabled_timeframe(settings: Settings) -> None:
    assert [health.freshness(settings, each, NOW).subject for each in settings.timeframes.values()] == NAMES
    assert [each.subject for each in health.held_series(settings, NOW)] == NAMES
    assert [each.subject for each in health.ledger(settings, NOW)] == NAMES


def test_the_ledger_of_the_enabled_timeframes_is_checked(settings: Settings) -> None:
    for timeframe in settings.timeframes.values():
        record(settings, timeframe)
    assert list(check_ledger(settings, NOW)) == [("ok", "2 publications of 2 timeframes are recorded")]


def test_the_dags_of_the_enabled_timeframes_must_exist(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    dags: dict[str, Any] = {"ohlcv_15m": {}, "ohlcv_1m": {}}
    monkeypatch.setattr(AirflowApi, "dags", lambda _: dags)
    with pytest.raises(OhlcvError, match="has no DAG ohlcv_4h"):
        doctor.check_airflow(settings)
    dags["ohlcv_4h"] = {}
    assert "has the DAGs" in str(doctor.check_airflow(settings))


def test_the_tables_of_the_enabled_timeframes_are_adopted_and_checked(settings: Settings) -> None:
    assert [each.timeframe for each in plan_adoption(settings, date(2026, 3, 1))] == NAMES
    request = chain_request(settings.names, settings.timeframes, "scratch")
    assert [each[-1] for each in request.candles] == ["gold_ohlcv_15m", "gold_ohlcv_4h"]
