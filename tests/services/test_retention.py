"""The retention DAG on real services: its plan, its steps, and a SIGKILL during every step."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ohlcv.config.maintained_tables import RECORD_TABLES
from ohlcv.iceberg.retention_plan import measure_table
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model.errors import OhlcvError
from ohlcv.model.timeframes import TIMEFRAMES
from ohlcv.spark.processes import descendants
from support.commit_times import commits_at
from support.default_tables import NAMESPACE, candles_contract
from support.processes import command_line, wait_for
from support.sites import POLL_SECONDS, Run, Site, running_site

pytestmark = [pytest.mark.services, pytest.mark.timeout(3600)]

DAG = "ohlcv_retention"
TODAY = datetime.now(UTC).date()
# Every run gets this day, so that a midnight between the set-up and a run changes no plan.
AS_OF = TODAY.isoformat()
OLD_SNAPSHOTS = 150
STEPS = ("delete", "compact", "expire")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Fill the 1m table: 20 expired days, three files in each of two closed days, today, and 150 old snapshots."""
    clock = [datetime.now(UTC) - timedelta(days=40)]
    with commits_at(lambda: clock[0]), running_site(tmp_path_factory.mktemp("retention")) as running:
        running.airflow.unpause(DAG)
        for run in wait_for(lambda: running.runs(DAG, "scheduled"), "a run is scheduled", POLL_SECONDS):
            # The scheduled run of last Sunday would change the table during the tests.
            running.airflow.call("PATCH", f"/dags/{DAG}/dagRuns/{run.run_id}", {"state": "success"})
        # On a Sunday shortly before 03:00, let the next one run on the empty table.
        running.wait_until_no_run_is_due(DAG, timedelta(minutes=20))
        for _ in range(OLD_SNAPSHOTS):
            clock[0] += timedelta(minutes=5)
            table = candle_table(running)
            table.append(table.schema().as_arrow().empty_table())
        fill(running, "old", TODAY - timedelta(days=120), TODAY - timedelta(days=101), "1 HOUR")
        for symbol in "abc":
            fill(running, symbol, TODAY - timedelta(days=2), TODAY - timedelta(days=1), "5 MINUTES")
        fill(running, "new", TODAY, TODAY, "1 HOUR")
        yield running


def fill(site: Site, symbol: str, first: date, last: date, step: str) -> None:
    site.sql(
        f"""INSERT INTO market_data.gold_ohlcv_1m
        SELECT '{symbol}', 'kraken', t, t + INTERVAL 1 MINUTE, CAST(t AS DATE), 1, 1, 1, 1, 1, 1, 1, t, t
        FROM (SELECT explode(sequence(TIMESTAMP '{first} 00:00:00', TIMESTAMP '{last} 23:00:00', INTERVAL {step})) AS t)
        """
    )


def candle_table(site: Site) -> Any:
    return load_table(open_catalog(site.settings), candles_contract(TIMEFRAMES["1m"]))


def stored_rows(site: Site) -> list[tuple[Any, ...]]:
    return sorted(tuple(row.values()) for row in candle_table(site).scan().to_arrow().to_pylist())


def table_folder(site: Site) -> Path:
    return site.settings.home / "warehouse" / NAMESPACE / "gold_ohlcv_1m"


def task_states(site: Site, run: Run, name: str) -> dict[str, str]:
    return {
        task_id.partition(".")[2]: task["state"]
        for task_id, task in site.airflow.tasks(DAG, run.run_id).items()
        if task_id.startswith(f"{name}.")
    }


def test_a_dry_run_shows_the_plan_and_changes_nothing(site: Site) -> None:
    before = site.snapshots("1m")
    run = site.wait_until_successful(site.trigger(DAG, {"as_of": AS_OF, "dry_run": True, "timeframes": ["1m"]}))
    log = site.log(run, "1m.plan")
    print(log)
    assert f"1m: retention 90 days as of {TODAY}: kept from {TODAY - timedelta(days=90)} on" in log
    assert f"partitions  20, {TODAY - timedelta(days=120)} to {TODAY - timedelta(days=101)}" in log
    assert "rows        480, " in log
    assert task_states(site, run, "1m") == {"plan": "success"} | dict.fromkeys((*STEPS, "report"), "skipped")
    assert set(task_states(site, run, "1h").values()) == {"skipped"}
    # The plan of the records does not depend on those of the candles.
    record_states = dict.fromkeys((*RECORD_TABLES, "report"), "skipped")
    assert task_states(site, run, "records") == {"plan": "success"} | record_states
    assert "1m revisions: retention 90 days" in site.log(run, "records.plan")
    assert site.snapshots("1m") == before


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"as_of": "2999-01-01"}, "as-of 2999-01-01 is in the future"),
        ({"max_share": 0.001}, "would be deleted, more than 0%: nothing is deleted"),
    ],
)
def test_a_run_with_invalid_parameters_fails_without_a_retry(site: Site, conf: dict[str, Any], message: str) -> None:
    before = site.snapshots("1m")
    run = site.wait_until_ended(site.trigger(DAG, {"as_of": AS_OF, **conf, "timeframes": ["1m"]}))
    assert run.state == "failed"
    assert message in site.log(run, "1m.plan")
    # Expired candles that are not deleted keep their records.
    assert "1m: its expired candles were not deleted, so its records are not deleted" in site.log(run, "records.plan")
    assert site.task(run, "1m.plan")["try_number"] == 1
    assert site.snapshots("1m") == before


def test_the_trigger_form_rejects_an_invalid_date(site: Site) -> None:
    with pytest.raises(OhlcvError, match="'soon' is not a 'date'"):
        site.trigger(DAG, {"as_of": "soon"})


def find_job(site: Site, step: str) -> int | None:
    """Return the process id of the JVM that runs a step's job."""
    for pid in descendants(site.airflow.processes["scheduler"].pid):
        command = command_line(pid)
        if "org.apache.spark.deploy.SparkSubmit" in command and f"--steps {step}" in command:
            return pid
    return None


def progress_check(site: Site, step: str) -> Callable[[], bool]:
    """Return a function that reports whether a step has written uncommitted files, or has begun to remove files."""
    data_files = set((table_folder(site) / "data").rglob("*.parquet"))
    metadata_files = set((table_folder(site) / "metadata").glob("*"))

    def new_metadata_files() -> set[Path]:
        return set((table_folder(site) / "metadata").glob("*")) - metadata_files

    if step == "delete":
        return lambda: any(path.suffix == ".avro" for path in new_metadata_files())
    if step == "compact":
        return lambda: bool(set((table_folder(site) / "data").rglob("*.parquet")) - data_files)
    return lambda: any(not path.exists() for path in metadata_files if path.suffix == ".avro")


def test_a_kill_during_every_step_costs_a_retry_and_no_candle(site: Site) -> None:
    retained = [row for row in stored_rows(site) if row[0] != "old"]
    before = measure_table(site.settings, candles_contract(TIMEFRAMES["1m"]))
    run = site.trigger(DAG, {"as_of": AS_OF, "timeframes": ["1m"]})
    for step in STEPS:
        pid = wait_for(partial(find_job, site, step), f"{step} is submitted", POLL_SECONDS, patience=300)
        wait_for(progress_check(site, step), f"{step} changes files", 0.005)
        os.kill(pid, signal.SIGKILL)
        # At any point of the step, every retained candle is in the table.
        assert [row for row in stored_rows(site) if row[0] != "old"] == retained
        print(f"{step}: killed, {len(stored_rows(site)) - len(retained)} expired candles left")
    site.wait_until_successful(run)
    attempts = {step: site.task(run, f"1m.{step}")["try_number"] for step in STEPS}
    print("attempts:", attempts)
    assert set(attempts.values()) == {2}
    assert stored_rows(site) == retained
    after = measure_table(site.settings, candles_contract(TIMEFRAMES["1m"]))
    print(site.log(run, "1m.report"))
    assert (before.files, after.files) == (20 + 2 * 3 + 1, 2 + 1)
    assert after.snapshots <= before.snapshots - 30
    # A second run has nothing to do.
    snapshots = site.snapshots("1m")
    again = site.wait_until_successful(site.trigger(DAG, {"as_of": AS_OF, "timeframes": ["1m", "1d"]}))
    assert set(task_states(site, again, "1m").values()) == {"success"}
    assert set(task_states(site, again, "records").values()) == {"success"}
    assert "nothing has expired" in site.log(again, "1m.delete")
    assert site.snapshots("1m") == snapshots
    assert stored_rows(site) == retained
