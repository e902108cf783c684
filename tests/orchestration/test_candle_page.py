"""Entries of the Candles page in Airflow's navigation."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ohlcv.orchestration import candle_page


def test_without_a_built_page_there_is_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(candle_page.log, "warning", warnings.append)
    monkeypatch.setattr(sys, "argv", ["airflow", "scheduler"])
    assert candle_page.react_apps(tmp_path) == []
    assert warnings == []
    monkeypatch.setattr(sys, "argv", ["airflow", "api-server"])
    assert candle_page.react_apps(tmp_path) == []
    assert [("make setup" in warning) for warning in warnings] == [True]


def test_the_entries_name_the_bundle_below_the_address_of_airflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "candles-1a2b.js").touch()
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://data.example/airflow/")
    apps = candle_page.react_apps(tmp_path)
    assert {app["bundle_url"] for app in apps} == {"/airflow/ohlcv/page/candles-1a2b.js"}
    assert {app["destination"]: app["url_route"] for app in apps} == {"nav": "candles", "dag": "dag-candles"}
    assert json.dumps(apps)
