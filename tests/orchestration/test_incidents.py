"""Incidents: which notifications are sent, deduplicated or suppressed."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from support.alert_recorder import AlertRecorder, complete_run, evaluate_health, fail_run


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> AlertRecorder:
    return AlertRecorder(monkeypatch)


def test_a_missing_worker_is_one_incident_and_its_consequences_are_suppressed(recorder: AlertRecorder) -> None:
    evaluate_health(("Spark", "workers", "alert"))
    fail_run("ohlcv_1m", "aggregate: no worker came")
    fail_run("ohlcv_5m", "aggregate: something else")
    consequences = [("1m", "candles", "alert"), ("1m", "runs in 24 h", "alert"), ("1m", "last job", "alert")]
    evaluate_health(("Spark", "workers", "alert"), *consequences)
    # The worker is back, but the candles are still stale, and the failed runs of the day still count.
    evaluate_health(("Spark", "workers", "ok"), *consequences)
    complete_run("ohlcv_1m")
    assert recorder.sent == ["OHLCV health: Spark workers"]
    recovered = [("Spark", "workers", "ok"), ("1m", "candles", "ok"), ("1m", "last job", "ok")]
    evaluate_health(*recovered, ("1m", "runs in 24 h", "alert"))
    evaluate_health(*recovered, ("1m", "runs in 24 h", "alert"))
    assert recorder.sent == ["OHLCV health: Spark workers", "OHLCV health: Spark workers recovered"]
    # ohlcv_5m still fails after its cause has ended, so it is an incident of its own now.
    fail_run("ohlcv_5m", "aggregate: something else")
    assert recorder.sent[2:] == ["ohlcv_5m failed"]
    evaluate_health(("Spark", "workers", "ok"), ("1m", "runs in 24 h", "ok"))
    complete_run("ohlcv_5m")
    assert recorder.sent[3:] == ["ohlcv_5m recovered"]
    assert recorder.variables == {}


def test_stale_candles_are_suppressed_while_all_their_dags_fail(recorder: AlertRecorder) -> None:
    fail_run("ohlcv_1m", "aggregate: x")
    evaluate_health(("1m", "candles", "alert"), ("5m", "candles", "ok"))
    assert recorder.sent == ["ohlcv_1m failed"]
    evaluate_health(("1m", "candles", "alert"), ("5m", "candles", "alert"))
    assert recorder.sent[1:] == ["OHLCV health: 1m, 5m candles"]


def test_stale_candles_that_outlast_their_cause_are_notified(recorder: AlertRecorder) -> None:
    fail_run("ohlcv_1m", "aggregate: x")
    evaluate_health(("1m", "candles", "alert"))
    complete_run("ohlcv_1m")
    evaluate_health(("1m", "candles", "alert"))
    assert recorder.sent == ["ohlcv_1m failed", "ohlcv_1m recovered", "OHLCV health: 1m candles"]


def test_the_same_error_in_several_dags_is_one_incident(recorder: AlertRecorder) -> None:
    fail_run("ohlcv_1m", "aggregate: the catalog c does not answer (refused): check it")
    fail_run("ohlcv_5m", "validate: the catalog c does not answer (timed out): check it")
    fail_run("ohlcv_health", "look: the catalog c does not answer (x): check it")
    assert recorder.sent == ["ohlcv_1m failed"]
    fail_run("ohlcv_30m", "aggregate: another error")
    # Two killed runs have no error in common.
    fail_run("ohlcv_1h")
    fail_run("ohlcv_1d")
    assert recorder.sent[1:] == ["ohlcv_30m failed", "ohlcv_1h failed", "ohlcv_1d failed"]


def test_each_run_type_has_its_own_incident(recorder: AlertRecorder) -> None:
    fail_run("ohlcv_1m", "aggregate: x", "manual")
    complete_run("ohlcv_1m", "scheduled")
    fail_run("ohlcv_1m", "aggregate: x", "manual")
    complete_run("ohlcv_1m", "manual")
    assert recorder.sent == ["ohlcv_1m failed", "ohlcv_1m recovered"]


def test_a_notification_that_could_not_be_sent_is_sent_later(recorder: AlertRecorder) -> None:
    recorder.reachable = False
    evaluate_health(("1m", "candles", "alert"))
    since = json.loads(recorder.variables["ohlcv_incident:health:candles"])["since"]
    recorder.reachable = True
    evaluate_health(("1m", "candles", "alert"))
    assert recorder.sent == ["OHLCV health: 1m candles"]
    assert json.loads(recorder.variables["ohlcv_incident:health:candles"])["since"] == since


def test_an_incident_without_a_notification_ends_without_one(recorder: AlertRecorder) -> None:
    recorder.reachable = False
    evaluate_health(("1m", "last job", "alert"))
    recorder.reachable = True
    evaluate_health(("1m", "last job", "ok"))
    assert recorder.sent == []
    assert recorder.variables == {}


def test_an_unknown_state_does_not_end_an_incident(recorder: AlertRecorder) -> None:
    evaluate_health(("1m", "runs in 24 h", "alert"))
    evaluate_health(("1m", "runs in 24 h", "unknown"))
    assert recorder.sent == ["OHLCV health: 1m runs in 24 h"]
    evaluate_health(("1m", "runs in 24 h", "ok"))
    assert recorder.sent[1:] == ["OHLCV health: 1m runs in 24 h recovered"]


def test_only_scheduled_runs_are_late(recorder: AlertRecorder) -> None:
    from ohlcv.orchestration.callbacks import deadline_missed

    for run_type, sent in (("backfill", []), ("manual", []), ("scheduled", ["ohlcv_1m is late"])):
        due = "2026-03-01T12:05:00Z"
        run = {"dag_id": "ohlcv_1m", "dag_run_id": "r", "run_after": due, "data_interval_end": due, "state": "running"}
        asyncio.run(deadline_missed(10, {"dag_run": {**run, "run_type": run_type}}))
        assert recorder.sent == sent
    # The late run fails in the end: that is the same incident.
    fail_run("ohlcv_1m", "aggregate: x")
    complete_run("ohlcv_1m")
    assert recorder.sent[1:] == ["ohlcv_1m recovered"]


@pytest.mark.parametrize("state", ["success", "failed"])
def test_a_run_that_has_ended_when_its_deadline_is_handled_is_not_late(recorder: AlertRecorder, state: str) -> None:
    from ohlcv.orchestration.callbacks import deadline_missed

    due = "2026-03-01T06:00:00Z"
    run = {"dag_id": "ohlcv_fsck", "dag_run_id": "r", "run_after": due, "data_interval_end": due, "state": state}
    asyncio.run(deadline_missed(10, {"dag_run": {**run, "run_type": "scheduled"}}))
    assert recorder.sent == []
    fail_run("ohlcv_fsck", "fsck: a file is damaged")
    assert recorder.sent == ["ohlcv_fsck failed"]


def test_errors_of_several_days_are_shown_once_and_explained_by_the_same_error_elsewhere(
    recorder: AlertRecorder,
) -> None:
    down = "one_day.rebuild: the catalog c does not answer (refused): check it"
    fail_run("ohlcv_reprocess", [down, down])
    assert [fact for fact in recorder.last.facts if fact[0] == "Error"] == [("Error", down)]
    complete_run("ohlcv_reprocess")
    fail_run("ohlcv_reprocess", [f"one_day.rebuild: {number}" for number in range(5)])
    errors = [text for name, text in recorder.last.facts if name == "Error"]
    assert errors == [*(f"one_day.rebuild: {number}" for number in range(3)), "and 2 other errors in the run"]
    complete_run("ohlcv_reprocess")
    fail_run("ohlcv_1m", "aggregate: the catalog c does not answer (refused): check it")
    recorder.sent.clear()
    fail_run("ohlcv_reprocess", [down, down])
    assert recorder.sent == []


def test_a_run_whose_last_task_no_longer_exists_is_notified_and_recovers(recorder: AlertRecorder) -> None:
    """Airflow passes neither the run nor the task, for example after OHLCV_TIMEFRAMES was changed."""
    from ohlcv.orchestration.callbacks import run_failed, run_succeeded

    dag = SimpleNamespace(dag_id="ohlcv_retention")
    for run_id, run_type in (("scheduled__2026-03-01", "scheduled"), ("by hand", "manual")):
        context: Any = {"dag": dag, "run_id": run_id, "reason": "task_failure"}
        run_failed(context)
        assert list(recorder.variables) == [f"ohlcv_incident:ohlcv_retention:{run_type}"]
        assert ("Error", "no error was recorded (task_failure)") in recorder.last.facts
        run_succeeded(context)
    assert recorder.sent == ["ohlcv_retention failed", "ohlcv_retention recovered"] * 2


def test_a_failed_retention_run_is_notified_with_its_day_and_runbook_section(recorder: AlertRecorder) -> None:
    fail_run("ohlcv_retention", "1m.plan: gold_ohlcv_1m: 9 of 10 candles (90.0%) would be deleted, more than 50%")
    assert recorder.sent == ["ohlcv_retention failed"]
    assert ("Range", "as of 2026-03-01") in recorder.last.facts
    assert dict(recorder.last.links)["Runbook"].endswith("#retention-see-first-then-do")
    complete_run("ohlcv_retention")
    assert recorder.sent[1:] == ["ohlcv_retention recovered"]


def test_held_series_are_one_incident_per_timeframe(recorder: AlertRecorder) -> None:
    evaluate_health(("1m", "held series", "alert"), ("5m", "held series", "ok"))
    evaluate_health(("1m", "held series", "alert"), ("5m", "held series", "alert"))
    assert recorder.sent == ["OHLCV health: 1m held series", "OHLCV health: 5m held series"]
    assert set(recorder.variables) == {
        "ohlcv_incident:health:held series:1m",
        "ohlcv_incident:health:held series:5m",
    }
    assert recorder.last.links[-1] == ("Runbook", "docs/runbook.md#candles-are-held-back-or-a-run-was-rejected")
    evaluate_health(("1m", "held series", "ok"), ("5m", "held series", "alert"))
    assert recorder.sent[2:] == ["OHLCV health: 1m held series recovered"]
    assert set(recorder.variables) == {"ohlcv_incident:health:held series:5m"}


def test_held_series_neither_suppress_nor_are_suppressed(recorder: AlertRecorder) -> None:
    fail_run("ohlcv_1m", "aggregate: x")
    evaluate_health(("Spark", "workers", "alert"), ("1m", "held series", "alert"), ("1m", "candles", "alert"))
    assert recorder.sent == ["ohlcv_1m failed", "OHLCV health: Spark workers", "OHLCV health: 1m held series"]
    recorder.variables.clear()
    evaluate_health(("1m", "held series", "alert"), ("1m", "candles", "alert"), ("1m", "last job", "alert"))
    fail_run("ohlcv_1m", "aggregate: y")
    assert recorder.sent[3:] == [
        "OHLCV health: 1m candles",
        "OHLCV health: 1m last job",
        "OHLCV health: 1m held series",
        "ohlcv_1m failed",
    ]


def test_a_ledger_that_lags_behind_is_explained_only_by_failing_runs_of_its_dag(recorder: AlertRecorder) -> None:
    fail_run("ohlcv_1m", "aggregate: x")
    evaluate_health(("Spark", "workers", "alert"), ("1m", "ledger", "alert"), ("5m", "ledger", "alert"))
    assert recorder.sent == ["ohlcv_1m failed", "OHLCV health: Spark workers", "OHLCV health: 1m, 5m ledger"]
    assert recorder.last.links[-1] == ("Runbook", "docs/runbook.md#the-ledger-is-behind")
    recorder.variables.clear()
    fail_run("ohlcv_ledger", "record: y")
    evaluate_health(("1m", "ledger", "alert"))
    assert recorder.sent[3:] == ["ohlcv_ledger failed"]
    complete_run("ohlcv_ledger")
    evaluate_health(("1m", "ledger", "alert"))
    assert recorder.sent[4:] == ["ohlcv_ledger recovered", "OHLCV health: 1m ledger"]


def test_missing_data_has_an_incident_per_exchange_that_ends_with_its_recovery(recorder: AlertRecorder) -> None:
    evaluate_health(("Spark", "workers", "alert"), ("kraken", "data", "alert"), ("b/x", "data", "alert"))
    assert recorder.sent == ["OHLCV health: Spark workers", "OHLCV health: kraken data", "OHLCV health: b/x data"]
    assert recorder.last.links[-1] == ("Runbook", "docs/runbook.md#an-exchange-has-no-data")
    # A slash would end the name in the address of a Variable.
    assert {"ohlcv_incident:health:data:kraken", "ohlcv_incident:health:data:b%2Fx"} <= set(recorder.variables)
    evaluate_health(("kraken", "data", "alert"), ("b/x", "data", "unknown"))
    assert len(recorder.sent) == 3
    evaluate_health(("kraken", "data", "ok"), ("b/x", "data", "unknown"))
    assert recorder.sent[3:] == ["OHLCV health: kraken data recovered"]
    # Explained by a note.
    evaluate_health(("b/x", "data", "quiet"))
    assert recorder.sent[4:] == ["OHLCV health: b/x data recovered"]


def test_keys_of_long_names_are_short_and_different() -> None:
    from ohlcv.orchestration.incidents import MAX_PART, key_part

    names = ["x" * 300, "x" * 301, "\N{SNOWMAN}" * 100, "held series"]
    parts = [key_part(name) for name in names]
    assert len(set(parts)) == len(names)
    assert max(map(len, parts)) <= MAX_PART
    assert parts[-1] == "held series"


def test_a_coverage_that_is_behind_is_explained_only_by_failing_runs_of_its_dag(recorder: AlertRecorder) -> None:
    evaluate_health(("Spark", "workers", "alert"), ("trades", "coverage", "alert"))
    assert recorder.sent == ["OHLCV health: Spark workers", "OHLCV health: trades coverage"]
    assert recorder.last.links[-1] == ("Runbook", "docs/runbook.md#the-coverage-is-behind")
    evaluate_health(("Spark", "workers", "ok"), ("trades", "coverage", "ok"))
    fail_run("ohlcv_coverage", "record: x")
    assert ("Range", "hours whose trades changed since the last run") in recorder.last.facts
    assert dict(recorder.last.links)["Runbook"].endswith("#the-coverage-is-behind")
    evaluate_health(("trades", "coverage", "alert"))
    recovered = ["OHLCV health: Spark workers recovered", "OHLCV health: trades coverage recovered"]
    assert recorder.sent[2:] == [*recovered, "ohlcv_coverage failed"]
