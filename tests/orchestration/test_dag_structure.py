"""Structure of the DAGs and the policies that all of them follow."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from croniter import croniter

from ohlcv.config.settings import load_settings
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES, TIMEFRAMES

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bag() -> DagBag:
    from airflow.dag_processing.dagbag import DagBag

    found = DagBag(ROOT / "dags")
    assert found.import_errors == {}
    return found


def test_there_is_a_dag_for_every_timeframe(bag: DagBag) -> None:
    assert {timeframe.dag_id for timeframe in DEFAULT_TIMEFRAMES.values()} <= set(bag.dags)


def test_every_dag_follows_the_policies(bag: DagBag) -> None:
    from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator

    from ohlcv.orchestration.callbacks import run_failed, run_succeeded, task_failed

    for dag in bag.dags.values():
        assert "ohlcv" in dag.tags
        assert dag.doc_md
        assert dag.description
        assert dag.catchup is False
        assert (dag.on_failure_callback, dag.on_success_callback) == (run_failed, run_succeeded)
        # With another reference, runs could not be cleared (orchestration/deadlines.py).
        deadlines: Any = dag.deadline
        assert [type(each.reference).__name__ for each in deadlines] == ["ScheduledRunCreated"]
        # A long manual reprocessing must not delay the scheduled one. The pool still runs one Spark job at a time.
        assert dag.max_active_runs == (2 if dag.dag_id == "ohlcv_reprocess" else 1)
        for task in dag.tasks:
            assert task.owner == "market-data", task
            assert task.retries, task
            assert task.retry_delay >= timedelta(seconds=30), task
            assert task.execution_timeout, task
            callbacks: Any = task.on_failure_callback
            assert list(callbacks) == [task_failed], task
            if isinstance(task, SparkSubmitOperator):
                assert (task.pool, task.pool_slots) == ("ohlcv_spark", 1), task
                assert (task.retries, task.retry_delay) == (2, timedelta(seconds=60)), task
                assert [link.name for link in task.operator_extra_links] == ["Spark UI"], task
            assert type(task.weight_rule).__name__ == "ScheduleFirst", task


def test_a_reprocessing_run_has_one_job_and_one_validation_per_day(bag: DagBag) -> None:
    dag = bag.dags["ohlcv_reprocess"]
    timetable: Any = dag.timetable
    assert (type(timetable).__name__, timetable.expression) == ("CronDataIntervalTimetable", "30 1 * * *")
    rebuild, validate = dag.get_task("one_day.rebuild"), dag.get_task("one_day.validate")
    assert rebuild.downstream_task_ids == {"one_day.validate"}
    assert rebuild.get_closest_mapped_task_group() is not None
    assert [asset.name for asset in validate.outlets] == [f"gold_ohlcv_{name}" for name in DEFAULT_TIMEFRAMES]
    # The last task succeeds only if every day was rebuilt and validated, so its state is that of the run.
    assert validate.downstream_task_ids == {"progress"}
    assert dag.get_task("progress").trigger_rule == "all_success"
    assert rebuild.priority_weight < min(
        bag.dags[timeframe.dag_id].get_task("aggregate").priority_weight for timeframe in DEFAULT_TIMEFRAMES.values()
    )


def test_retention_has_one_chain_of_tasks_per_timeframe(bag: DagBag) -> None:
    dag = bag.dags["ohlcv_retention"]
    timetable: Any = dag.timetable
    assert timetable.expression == "0 3 * * 0"
    for name in DEFAULT_TIMEFRAMES:
        steps = [f"{name}.{step}" for step in ("plan", "delete", "compact", "expire", "report")]
        for before, after in pairwise(steps):
            assert after in dag.get_task(before).downstream_task_ids
        assert dag.get_task(steps[0]).upstream_task_ids == set()
        # The last task of a timeframe decides with its state whether the run has failed.
        assert dag.get_task(steps[-1]).downstream_task_ids == set()
        assert {dag.get_task(step).pool for step in steps[1:4]} == {"ohlcv_spark"}
        plan: Any = dag.get_task(steps[0])
        assert plan.ignore_downstream_trigger_rules is False
    assert len(dag.task_ids) == 5 * len(DEFAULT_TIMEFRAMES) + 7


def test_retention_maintains_the_records_after_the_candles_are_deleted(bag: DagBag) -> None:
    dag = bag.dags["ohlcv_retention"]
    plan = dag.get_task("records.plan")
    assert plan.upstream_task_ids == {f"{name}.delete" for name in DEFAULT_TIMEFRAMES}
    # A failure in one timeframe does not stop it.
    assert plan.trigger_rule == "all_done"
    names = ("publications", "revisions", "coverage", "coverage_notes", "reconciliation")
    tables = {f"records.{name}" for name in names}
    assert plan.downstream_task_ids == tables
    report = dag.get_task("records.report")
    assert report.upstream_task_ids == tables
    # The job of a table that does not exist is skipped.
    assert report.trigger_rule == "none_failed"
    assert {dag.get_task(table).pool for table in tables} == {"ohlcv_spark"}


def test_the_ledger_of_all_timeframes_is_recorded_by_one_run(bag: DagBag) -> None:
    assert bag.dags["ohlcv_ledger"].params["timeframes"] == list(DEFAULT_TIMEFRAMES)


@pytest.mark.parametrize("dag_id", ["ohlcv_ledger", "ohlcv_coverage"])
def test_recordings_are_hourly_in_one_task_between_the_candle_runs(bag: DagBag, dag_id: str) -> None:
    dag = bag.dags[dag_id]
    assert dag.task_ids == ["record"]
    assert dag.get_task("record").pool == "default_pool"
    timetable: Any = dag.timetable
    schedule = croniter(timetable.expression, datetime(2026, 3, 1, tzinfo=UTC), ret_type=datetime)
    times = {schedule.get_next() for _ in range(24)}
    assert len({time.hour for time in times}) == 24
    for timeframe in TIMEFRAMES.values():
        assert not [time for time in times if croniter.match(timeframe.cron, time)]


def test_candle_dags_match_the_registry(bag: DagBag) -> None:
    weights = []
    for timeframe in DEFAULT_TIMEFRAMES.values():
        dag = bag.dags[timeframe.dag_id]
        timetable: Any = dag.timetable
        assert (type(timetable).__name__, timetable.expression) == ("CronDataIntervalTimetable", timeframe.cron)
        aggregate, validate = dag.get_task("aggregate"), dag.get_task("validate")
        assert aggregate.downstream_task_ids == {"validate"}
        assert (aggregate.pool, aggregate.pool_slots) == ("ohlcv_spark", 1)
        assert (aggregate.retries, aggregate.retry_delay) == (2, timedelta(seconds=60))
        assert aggregate.execution_timeout == validate.execution_timeout == timedelta(seconds=300)
        assert (validate.retries, validate.retry_delay) == (1, timedelta(seconds=30))
        assert [asset.name for asset in validate.outlets] == [f"gold_ohlcv_{timeframe}"]
        weights.append(aggregate.priority_weight)
    assert weights == sorted(weights, reverse=True), "smaller timeframes have the larger weight"


def test_the_timeout_of_a_timeframe_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("OHLCV_1D_TIMEOUT_SECONDS", "900")
    dags = DagBag(ROOT / "dags").dags
    timeouts = {
        (name, task_id): dags[f"ohlcv_{name}"].get_task(task_id).execution_timeout
        for name in ("1h", "1d")
        for task_id in ("aggregate", "validate")
    }
    assert {key for key, timeout in timeouts.items() if timeout == timedelta(seconds=900)} == {
        ("1d", "aggregate"),
        ("1d", "validate"),
    }


def test_the_validation_of_a_reprocessed_day_has_the_time_of_its_job(bag: DagBag) -> None:
    dag = bag.dags["ohlcv_reprocess"]
    assert dag.get_task("one_day.validate").execution_timeout == dag.get_task("one_day.rebuild").execution_timeout


def test_parsing_dags_imports_no_spark_and_no_data_library() -> None:
    script = (
        "import sys; from airflow.dag_processing.dagbag import DagBag; "
        f"DagBag({str(ROOT / 'dags')!r}); "
        "print([name for name in ('pyspark', 'pyiceberg', 'duckdb') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip().splitlines()[-1] == "[]"


def test_the_plugins_folder_has_exactly_one_file() -> None:
    assert [path.name for path in (ROOT / "plugins").glob("*.py")] == ["ohlcv_plugin.py"]


def test_an_asset_is_named_after_its_table() -> None:
    from ohlcv.orchestration.validate_operator import asset_of

    default = load_settings({"OHLCV_HOME": "/home/x"})
    other = load_settings({"OHLCV_HOME": "/home/x", "OHLCV_NAMESPACE": "lake.börse"})
    minute = default.timeframe("1m")
    assert (asset_of(default, minute).name, asset_of(default, minute).uri) == (
        "gold_ohlcv_1m",
        "iceberg://market_data/gold_ohlcv_1m",
    )
    assert asset_of(other, minute).uri == "iceberg://lake/b%C3%B6rse/gold_ohlcv_1m"
