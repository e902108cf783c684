"""Test double of Airflow's Variables and of the notification channels, and events that open and close incidents."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest


class AlertRecorder:
    """Variables in memory, and the notifications that were sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from ohlcv.orchestration import incidents

        self.variables: dict[str, str] = {}
        # Titles of the notifications that were sent.
        self.sent: list[str] = []
        # False if every channel fails.
        self.reachable = True
        self.last: Any = None
        monkeypatch.setattr(incidents, "Variable", self)
        monkeypatch.setattr(incidents, "send_notification", self.send)

    def get(self, key: str, default: str | None) -> str | None:
        return self.variables.get(key, default)

    def set(self, key: str, value: str) -> None:
        self.variables[key] = value

    def delete(self, key: str) -> None:
        del self.variables[key]

    def send(self, notification: Any) -> bool:
        self.last = notification
        if self.reachable:
            self.sent.append(notification.title)
        return self.reachable


def callback_context(dag_id: str = "ohlcv_health", run_type: str = "scheduled", error: Any = "") -> Any:
    """Return the context that Airflow passes to the callback of a DAG. Several errors of a task are a list."""
    due = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
    run = SimpleNamespace(dag_id=dag_id, run_id="r", run_type=run_type, run_after=due, data_interval_end=due)
    dag = SimpleNamespace(task_ids=["aggregate"])
    instance = SimpleNamespace(log_url="http://log", task=SimpleNamespace(dag=dag), xcom_pull=lambda **_: error)
    return {"dag_run": run, "params": {}, "ti": instance}


def evaluate_health(*measurements: tuple[str, str, str]) -> None:
    """Evaluate measurements, each given by subject, aspect and state."""
    from ohlcv.monitoring.measurements import Measurement
    from ohlcv.orchestration.health_alerts import evaluate

    evaluate(
        [Measurement(subject, aspect, "found", "target", state) for subject, aspect, state in measurements],  # type: ignore[arg-type]
        callback_context(),
    )


def fail_run(dag_id: str, error: str | list[str] = "", run_type: str = "scheduled") -> None:
    from ohlcv.orchestration.callbacks import run_failed

    run_failed(callback_context(dag_id, run_type, error))


def complete_run(dag_id: str, run_type: str = "scheduled") -> None:
    from ohlcv.orchestration.callbacks import run_succeeded

    run_succeeded(callback_context(dag_id, run_type))
