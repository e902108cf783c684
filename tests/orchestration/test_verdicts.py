"""The XCom with the verdict of a validation, of a run that passes and of one that fails, in worker and container."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.docker.exceptions import DockerContainerFailedException
from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from ohlcv.config.settings import Settings
from ohlcv.model.intervals import Range
from ohlcv.model.timeframes import Timeframe, get_timeframe
from ohlcv.orchestration.container_validation import ContainerValidateOperator
from ohlcv.orchestration.validate_operator import ValidateOperator
from ohlcv.quality import validator
from ohlcv.quality.report import Finding, ValidationResult, run_report

SPAN = Range(datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 3, 1, 13, tzinfo=UTC))
TARGETS = [(get_timeframe("1m"), SPAN), (get_timeframe("1h"), SPAN)]
WRONG = Finding("key_is_unique", "FAIL", "BTC-USD", "binance", "2026-03-01T12:00:00Z", "2 rows", "1 row")


def result(timeframe: Timeframe, passes: bool) -> ValidationResult:
    """Return a result in which only the candles of 1m can be wrong."""
    findings = [] if passes or timeframe.name != "1m" else [WRONG]
    return ValidationResult(timeframe.name, [SPAN], 8, 900, findings, [])


def worker(monkeypatch: pytest.MonkeyPatch, passes: bool) -> BaseOperator:
    """Return the operator of the worker. Its validation has a given result."""

    def validate(_: Settings, timeframe: Timeframe, span: Range, run_id: str) -> ValidationResult:
        assert (span, run_id) == (SPAN, "a run")
        return result(timeframe, passes)

    monkeypatch.setattr(validator, "validate", validate)
    return ValidateOperator(task_id="validate", resolve_targets=lambda *_: TARGETS)


def container(monkeypatch: pytest.MonkeyPatch, passes: bool) -> BaseOperator:
    """Return the operator of the container. Its container has a given log and exit state."""
    report = run_report([result(timeframe, passes) for timeframe, _ in TARGETS], SPAN.end)
    lines = ["1m: 8 candles validated", json.dumps(report)]

    def execute(*_: Any) -> list[str]:
        if not passes:
            raise DockerContainerFailedException("Docker container failed", logs=[line.encode() for line in lines])
        return lines

    monkeypatch.setattr(DockerOperator, "execute", execute)
    return ContainerValidateOperator(task_id="validate", resolve_targets=lambda *_: TARGETS)


class Recorder:
    """Context of a task that records its XComs and asset events."""

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}
        self.events: dict[Any, Any] = defaultdict(SimpleNamespace)

    def xcom_push(self, key: str, value: Any) -> None:
        # Airflow persists JSON.
        self.xcoms[key] = json.loads(json.dumps(value))

    def context(self) -> Any:
        return {"ti": self, "dag_run": SimpleNamespace(run_id="a run"), "outlet_events": self.events}


RUNTIMES = pytest.mark.parametrize("runtime", [worker, container])


@RUNTIMES
def test_a_run_that_passes_has_a_verdict_and_asset_events(runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    runtime(monkeypatch, passes=True).execute(recorder.context())
    verdicts = recorder.xcoms["verdict"]
    assert [(each["timeframe"], each["passed"], each["candles"]) for each in verdicts] == [
        ("1m", True, 8),
        ("1h", True, 8),
    ]
    assert [event.extra["candles_checked"] for event in recorder.events.values()] == [8, 8]


@RUNTIMES
def test_a_run_that_fails_has_a_verdict(runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    with pytest.raises(AirflowFailException, match="1 validation failures, the first: key_is_unique: BTC-USD binance"):
        runtime(monkeypatch, passes=False).execute(recorder.context())
    minutes, hours = recorder.xcoms["verdict"]
    assert (minutes["passed"], minutes["rules"]["key_is_unique"]["findings"]) == (False, 1)
    assert (minutes["findings"][0]["symbol"], hours["passed"]) == ("BTC-USD", True)
    assert not recorder.events


@pytest.mark.parametrize("log", [[], ["usage: ohlcv"], ['{"complaint": null, "events": []}']])
def test_an_image_without_verdicts_is_named(log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    operator = container(monkeypatch, passes=True)
    monkeypatch.setattr(DockerOperator, "execute", lambda *_: log)
    with pytest.raises(AirflowException, match="set OHLCV_VALIDATION_IMAGE to an image of this version"):
        operator.execute(Recorder().context())
