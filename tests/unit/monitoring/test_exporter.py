"""Health as Prometheus reads it."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.monitoring.exporter import as_text, server
from ohlcv.monitoring.health import Measure
from ohlcv.spark.processes import HOST


def test_alerts_and_values_are_gauges() -> None:
    text = as_text([Measure("1m", "candles", "old", "young", "alert", 612.5), Measure("1h", "runs", "", "", "unknown")])
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines == [
        'ohlcv_health_alert{subject="1m",aspect="candles"} 1',
        'ohlcv_health_alert{subject="1h",aspect="runs"} 0',
        'ohlcv_health_value{subject="1m",aspect="candles"} 612.5',
    ]


def test_what_cannot_be_looked_at_is_said_in_one_line(tmp_path: Path) -> None:
    made = server(load_settings({"OHLCV_HOME": str(tmp_path)}), HOST, 0)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    address = f"http://{HOST}:{made.server_address[1]}"
    try:
        with urllib.request.urlopen(f"{address}/") as answer:
            assert answer.read() == b"alive\n"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}/metrics")
        with refused.value as answer:
            assert "run 'ohlcv tables create'" in answer.read().decode()
    finally:
        made.shutdown()
        thread.join()
        made.server_close()
