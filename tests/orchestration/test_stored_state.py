"""What Airflow has stored still works after an upgrade: incidents, serialized DAGs, class paths and names.

The literals in this module are in databases of running installations. Do not change them together with the code.
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES
from support.alert_recorder import AlertRecorder, complete_run, evaluate_health, fail_run

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

ROOT = Path(__file__).parents[2]
# ohlcv_1m, ohlcv_health and ohlcv_reprocess as version 0.1.0 serialized them, without their descriptions.
SERIALIZED_DAGS: dict[str, Any] = json.loads((Path(__file__).parent / "stored" / "serialized_dags.json").read_text())
CLASS_PATHS = {
    "ohlcv.orchestration.callbacks.deadline_missed",
    "ohlcv.orchestration.deadlines.ScheduledRunCreated",
    "ohlcv.orchestration.priority.ScheduleFirst",
}
SPARK_LINK_KEY = "_link_SparkLink"

NOTIFIED = '{"since": "2026-03-01T11:50:00Z", "told": true, "follows": false, "error": "the catalog c does not answer"}'
SUPPRESSED = '{"since": "2026-03-01T11:50:00Z", "told": false, "follows": true, "error": ""}'
UNSENT = '{"since": "2026-03-01T11:50:00Z", "told": false, "follows": false, "error": ""}'


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> AlertRecorder:
    return AlertRecorder(monkeypatch)


@pytest.fixture(scope="module")
def bag() -> DagBag:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(ROOT / "dags")


def test_a_stored_notified_incident_is_not_notified_again_and_recovers_with_its_time(recorder: AlertRecorder) -> None:
    recorder.variables["ohlcv_incident:ohlcv_1m:scheduled"] = NOTIFIED
    fail_run("ohlcv_1m", "aggregate: x")
    assert recorder.sent == []
    assert recorder.variables == {"ohlcv_incident:ohlcv_1m:scheduled": NOTIFIED}
    complete_run("ohlcv_1m")
    assert recorder.sent == ["ohlcv_1m recovered"]
    assert ("Failing since", "2026-03-01T11:50:00Z") in recorder.last.facts
    assert recorder.variables == {}


def test_a_stored_notified_incident_suppresses_the_same_error_in_another_dag(recorder: AlertRecorder) -> None:
    recorder.variables["ohlcv_incident:ohlcv_1m:scheduled"] = NOTIFIED
    fail_run("ohlcv_5m", "validate: the catalog c does not answer (timed out)")
    assert recorder.sent == []
    fail_run("ohlcv_30m", "validate: another error")
    assert recorder.sent == ["ohlcv_30m failed"]


def test_a_stored_incident_of_the_workers_suppresses_its_consequences(recorder: AlertRecorder) -> None:
    recorder.variables["ohlcv_incident:health:workers"] = NOTIFIED
    fail_run("ohlcv_1m", "aggregate: x")
    evaluate_health(("Spark", "workers", "ok"), ("1m", "candles", "alert"), ("1m", "last job", "alert"))
    assert recorder.sent == []
    evaluate_health(("Spark", "workers", "ok"), ("1m", "candles", "ok"), ("1m", "last job", "ok"))
    assert recorder.sent == ["OHLCV health: Spark workers recovered"]
    assert ("In alert since", "2026-03-01T11:50:00Z") in recorder.last.facts


def test_a_stored_suppressed_incident_ends_without_a_notification(recorder: AlertRecorder) -> None:
    recorder.variables["ohlcv_incident:health:runs in 24 h"] = SUPPRESSED
    # A suppressed incident of this aspect stays suppressed, although its cause has ended.
    evaluate_health(("1m", "runs in 24 h", "alert"))
    assert recorder.variables == {"ohlcv_incident:health:runs in 24 h": SUPPRESSED}
    evaluate_health(("1m", "runs in 24 h", "ok"))
    assert recorder.variables == {}
    assert recorder.sent == []


def test_a_stored_incident_whose_notification_failed_is_notified_later(recorder: AlertRecorder) -> None:
    recorder.variables["ohlcv_incident:health:candles"] = UNSENT
    evaluate_health(("1m", "candles", "alert"))
    assert recorder.sent == ["OHLCV health: 1m candles"]
    assert recorder.variables == {"ohlcv_incident:health:candles": UNSENT.replace('"told": false', '"told": true')}


def test_new_incidents_are_stored_with_the_same_keys_and_fields(recorder: AlertRecorder) -> None:
    fail_run("ohlcv_1m", "aggregate: the catalog c does not answer (refused)")
    evaluate_health(("Spark", "workers", "alert"), ("1m", "candles", "alert"), ("runs", "last 24 h", "alert"))
    stored = {key: json.loads(value) for key, value in recorder.variables.items()}
    assert list(stored) == [
        "ohlcv_incident:ohlcv_1m:scheduled",
        "ohlcv_incident:health:workers",
        "ohlcv_incident:health:candles",
        "ohlcv_incident:health:last 24 h",
    ]
    assert all(list(fields) == ["since", "told", "follows", "error"] for fields in stored.values())
    assert stored["ohlcv_incident:ohlcv_1m:scheduled"] | {"since": ""} == {
        "since": "",
        "told": True,
        "follows": False,
        "error": "the catalog c does not answer",
    }
    assert stored["ohlcv_incident:health:candles"]["follows"] is True


def test_stored_class_paths_can_be_imported() -> None:
    for path in CLASS_PATHS | {"ohlcv.orchestration.links.SparkLink"}:
        module, _, name = path.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name)), path


def test_the_stored_deadline_callback_accepts_its_stored_arguments(recorder: AlertRecorder) -> None:
    import asyncio

    from ohlcv.orchestration.callbacks import deadline_missed

    [stored] = SERIALIZED_DAGS["ohlcv_1m"]["dag"]["deadline"]
    due = "2026-03-01T12:05:00Z"
    run = {"dag_id": "ohlcv_1m", "dag_run_id": "r", "run_type": "scheduled", "state": "running"}
    run |= {"run_after": due, "data_interval_end": due}
    asyncio.run(deadline_missed(**stored["callback"]["__data__"]["kwargs"], context={"dag_run": run}))
    assert recorder.sent == ["ohlcv_1m is late"]


@pytest.mark.parametrize("dag_id", sorted(SERIALIZED_DAGS))
def test_a_stored_serialized_dag_can_be_loaded(dag_id: str) -> None:
    from airflow.serialization.decoders import decode_deadline_alert
    from airflow.serialization.serialized_objects import DagSerialization

    from ohlcv.orchestration.deadlines import ScheduledRunCreated
    from ohlcv.orchestration.links import SparkLink
    from ohlcv.orchestration.priority import ScheduleFirst

    dag: Any = DagSerialization.from_dict(SERIALIZED_DAGS[dag_id])
    [deadline] = dag.deadline
    decoded: Any = decode_deadline_alert(deadline)
    assert type(decoded.reference.inner_ref) is ScheduledRunCreated
    links = [link for task in dag.tasks for link in task.operator_extra_link_dict.items()]
    assert [(name, link.xcom_key) for name, link in links] == (
        [] if dag_id == "ohlcv_health" else [(SparkLink().name, SPARK_LINK_KEY)]
    )
    assert SparkLink().xcom_key == SPARK_LINK_KEY
    assert {type(task.weight_rule) for task in dag.tasks} == {ScheduleFirst}


def test_the_dags_are_serialized_with_the_stored_class_paths(bag: DagBag) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    text = json.dumps([DagSerialization.to_dict(dag) for dag in bag.dags.values()])
    paths = set(re.findall(r'"(ohlcv\.[\w.]+)"', text))
    modules = set(re.findall(r'"_task_module": "(ohlcv\.[\w.]+)"', text))
    assert paths - modules == CLASS_PATHS
    for module in modules:
        importlib.import_module(module)


# Tasks added since the DAGs were stored. Stored runs do not have them.
ADDED_TASKS = {"ohlcv_reprocess": {"progress"}}


def test_ids_and_parameters_of_dags_and_tasks_are_those_stored(bag: DagBag) -> None:
    assert set(bag.dags) == {
        *("ohlcv_1m", "ohlcv_5m", "ohlcv_30m", "ohlcv_1h", "ohlcv_1d"),
        *("ohlcv_reprocess", "ohlcv_retention", "ohlcv_health", "ohlcv_ledger", "ohlcv_coverage", "ohlcv_reconcile"),
        "ohlcv_fsck",
    }
    tasks = {dag_id: sorted(dag.task_ids) for dag_id, dag in bag.dags.items()}
    for dag_id, stored in SERIALIZED_DAGS.items():
        task_ids = {task["__var"]["task_id"] for task in stored["dag"]["tasks"]}
        assert set(tasks[dag_id]) == task_ids | ADDED_TASKS.get(dag_id, set())
        # A later version may add parameters.
        assert {name for name, _ in stored["dag"].get("params", [])} <= set(bag.dags[dag_id].params)
    for timeframe in DEFAULT_TIMEFRAMES.values():
        assert tasks[timeframe.dag_id] == tasks["ohlcv_1m"]
    assert list(bag.dags["ohlcv_retention"].params) == ["dry_run", "as_of", "timeframes", "max_share"]


def test_xcom_keys_pool_and_connections_are_those_stored() -> None:
    from ohlcv.orchestration.callbacks import ERROR_KEY
    from ohlcv.orchestration.notifications import EMAIL_CONNECTION, SLACK_CONNECTION
    from ohlcv.orchestration.prerequisites import SPARK_CONNECTION, SPARK_POOL
    from ohlcv.orchestration.retention_tasks import BEFORE_KEY

    assert (ERROR_KEY, BEFORE_KEY) == ("ohlcv_error", "before")
    assert (SPARK_POOL, SPARK_CONNECTION) == ("ohlcv_spark", "spark_default")
    assert (EMAIL_CONNECTION, SLACK_CONNECTION) == ("smtp_default", "slack_default")
