"""DAGs, parameters, priorities, incidents and access with other timeframes than the default ones."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ohlcv.model.timeframes import TIMEFRAMES

ROOT = Path(__file__).parents[2]
NAMES = ["15m", "2h", "4h"]
DAG_IDS = [f"ohlcv_{name}" for name in NAMES]


@pytest.fixture(autouse=True)
def _enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHLCV_TIMEFRAMES", ",".join(NAMES))


def load_dags(name: str) -> dict[str, Any]:
    """Execute a DAG file with the settings of the test, and return its DAGs."""
    from airflow.sdk import DAG

    found = runpy.run_path(str(ROOT / "dags" / f"{name}.py")).values()
    return {each.dag_id: each for each in found if isinstance(each, DAG)}


def test_there_are_dags_of_the_enabled_timeframes_only() -> None:
    dags = load_dags("ohlcv_candles")
    assert sorted(dags) == sorted(DAG_IDS)
    weights = [dags[dag_id].get_task("aggregate").priority_weight for dag_id in DAG_IDS]
    # Shorter timeframes first, and all of them before reprocessing and maintenance.
    assert weights == [30, 20, 10]
    for name in NAMES:
        timetable: Any = dags[f"ohlcv_{name}"].timetable
        assert timetable.expression == TIMEFRAMES[name].cron
        aggregate = dags[f"ohlcv_{name}"].get_task("aggregate")
        assert aggregate.application.endswith("ohlcv_batch.py")


@pytest.mark.parametrize("dag_id", ["ohlcv_reprocess", "ohlcv_retention", "ohlcv_ledger"])
def test_the_parameter_offers_the_enabled_timeframes_only(dag_id: str) -> None:
    dag = load_dags(dag_id)[dag_id]
    parameter = dag.params.get_param("timeframes")
    assert parameter.value == NAMES
    assert parameter.schema["items"]["enum"] == NAMES
    if dag_id == "ohlcv_retention":
        groups = {task_id.partition(".")[0] for task_id in dag.task_ids}
        assert groups == {*NAMES, "records"}
    if dag_id == "ohlcv_reprocess":
        outlets = dag.get_task("one_day.validate").outlets
        assert [each.name for each in outlets] == [f"gold_ohlcv_{name}" for name in NAMES]


def test_a_user_needs_the_dag_of_an_enabled_timeframe(monkeypatch: pytest.MonkeyPatch) -> None:
    from ohlcv.orchestration import candle_access

    async def get_user(*_: object) -> object:
        return object()

    asked: list[str] = []

    def readable_dags(_: object, dag_ids: Iterable[str]) -> set[str]:
        asked.extend(dag_ids)
        return {"ohlcv_1m", "ohlcv_2h"}

    monkeypatch.setattr(candle_access, "get_user", get_user)
    monkeypatch.setattr(candle_access, "readable_dags", readable_dags)
    access = asyncio.run(candle_access._access(None, None))  # type: ignore[arg-type]
    assert asked == DAG_IDS
    assert access.timeframes == ["2h"]


def test_only_incidents_of_enabled_timeframes_explain_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from ohlcv.orchestration import callbacks
    from ohlcv.orchestration.incidents import Incident

    def read_incident(key: str) -> Incident | None:
        open_keys = {"ohlcv_1m:scheduled": "one", "ohlcv_2h:scheduled": "two"}
        return Incident("2026-03-01", True, False, open_keys[key]) if key in open_keys else None

    monkeypatch.setattr(callbacks, "read_incident", read_incident)
    # 1m was disabled while its incident was open, so nothing closes it.
    assert not callbacks._has_notified_cause("ohlcv_4h:scheduled", "one")
    assert callbacks._has_notified_cause("ohlcv_4h:scheduled", "two")
