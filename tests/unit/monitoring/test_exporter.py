"""The Prometheus exporter: its format, its names and labels, and its behaviour without data."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES
from ohlcv.monitoring import exporter
from ohlcv.monitoring.exporter import format_metrics, make_server
from ohlcv.monitoring.health import runs
from ohlcv.monitoring.measurements import Measurement
from ohlcv.spark.processes import HOST
from support.health_sources import filled_settings
from support.json_server import json_server
from support.prometheus import parse_samples
from support.server_thread import running

# pyiceberg does not close the connections of its catalogs, so the garbage collector does.
pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")

# Persisted: incidents, Prometheus and dashboards store these names. Neither change nor remove any of them.
TABLES = [
    "gold_crypto_trades",
    *("gold_ohlcv_1m", "gold_ohlcv_5m", "gold_ohlcv_30m", "gold_ohlcv_1h", "gold_ohlcv_1d"),
    *("gold_ohlcv_publications", "gold_ohlcv_revisions"),
    *("gold_ohlcv_coverage", "gold_ohlcv_coverage_notes", "gold_ohlcv_reconciliation"),
]
ASPECTS = {
    "candles": ["1m", "5m", "30m", "1h", "1d"],
    "held series": ["1m", "5m", "30m", "1h", "1d"],
    "ledger": ["1m", "5m", "30m", "1h", "1d"],
    "coverage": ["trades"],
    "data": ["kraken"],
    "runs in 24 h": ["1m", "5m", "30m", "1h", "1d"],
    "last job": ["1m", "5m", "30m", "1h", "1d"],
    "workers": ["Spark"],
    "storage": TABLES,
}


@contextmanager
def running_exporter(settings: Settings) -> Iterator[str]:
    """Run the exporter and yield its address."""
    with running(make_server(settings, HOST, 0)) as address:
        yield address


def test_subjects_with_special_characters_are_escaped() -> None:
    text = format_metrics([Measurement('a"b\\c\nd', "data", "", "", "alert")])
    assert r'ohlcv_health_alert{subject="a\"b\\c\nd",aspect="data"} 1' in text.splitlines()


def test_alerts_and_values_are_gauges() -> None:
    text = format_metrics(
        [
            Measurement("1m", "candles", "old", "young", "alert", 612.5),
            Measurement("1h", "runs", "", "", "unknown"),
            Measurement("1d", "held series", "2", "none", "alert", 2, 60.5),
        ]
    )
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines == [
        'ohlcv_health_alert{subject="1m",aspect="candles"} 1',
        'ohlcv_health_alert{subject="1h",aspect="runs"} 0',
        'ohlcv_health_alert{subject="1d",aspect="held series"} 1',
        'ohlcv_health_value{subject="1m",aspect="candles"} 612.5',
        'ohlcv_health_value{subject="1d",aspect="held series"} 2',
        'ohlcv_health_oldest_seconds{subject="1d",aspect="held series"} 60.5',
    ]


def test_the_exporter_serves_the_persisted_names_and_labels(tmp_path: Path) -> None:
    with (
        filled_settings(tmp_path) as settings,
        running_exporter(settings) as address,
        urllib.request.urlopen(f"{address}/metrics") as answer,
    ):
        samples = parse_samples(answer.read().decode())
    expected = [(subject, aspect) for aspect, subjects in ASPECTS.items() for subject in subjects]
    for name in ("ohlcv_health_alert", "ohlcv_health_value"):
        labels = [sample.labels for sample in samples if sample.name == name]
        assert all(set(each) == {"subject", "aspect"} for each in labels)
        assert sorted((each["subject"], each["aspect"]) for each in labels) == sorted(expected)


def test_missing_run_data_has_its_own_aspects(tmp_path: Path) -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    settings = load_settings({"OHLCV_HOME": str(tmp_path)})
    assert [(each.subject, each.aspect, each.state) for each in runs(settings, now)] == [
        ("runs", "last 24 h", "unknown")
    ]
    with json_server({"/auth/token": {"access_token": "t"}, "/api/v2/dags": {"dags": []}}) as web:
        login = {"OHLCV_AIRFLOW_URL": web, "OHLCV_AIRFLOW_USER": "me", "OHLCV_AIRFLOW_PASSWORD": "hunter2"}
        found = runs(load_settings({"OHLCV_HOME": str(tmp_path), **login}), now)
    assert [(each.subject, each.aspect, each.state) for each in found] == [
        (name, "runs", "alert") for name in DEFAULT_TIMEFRAMES
    ]


def test_a_store_that_reports_an_error_fails_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> list[Measurement]:
        raise OSError("When reading from key 'x' in bucket 'b': AWS Error SLOW_DOWN during GetObject operation: slow")

    monkeypatch.setattr(exporter, "health", fail)
    with running_exporter(load_settings({"OHLCV_HOME": str(tmp_path)})) as address:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}/metrics")
        with refused.value as answer:
            assert (answer.code, answer.read().decode().count("\n")) == (503, 1)


def test_invalid_settings_end_the_exporter_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHLCV_SPEED", "1")
    with pytest.raises(SystemExit, match=r"^error: unknown setting OHLCV_SPEED"):
        exporter.main()


def test_without_tables_metrics_fail_with_one_line(tmp_path: Path) -> None:
    with running_exporter(load_settings({"OHLCV_HOME": str(tmp_path)})) as address:
        with urllib.request.urlopen(f"{address}/") as answer:
            assert answer.read() == b"alive\n"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}/metrics")
        with refused.value as answer:
            assert "run 'ohlcv tables create'" in answer.read().decode()
