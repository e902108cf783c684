"""The retention DAG on real services: its plan, its chain, and a kill -9 in the middle of every step."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ohlcv.iceberg.retention_plan import measure_table
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model.errors import OhlcvError
from ohlcv.model.table_contracts import NAMESPACE, candles_contract
from ohlcv.model.timeframes import TIMEFRAMES
from ohlcv.spark.processes import descendants
from support.commit_times import commits_at
from support.processes import command_line, wait_for
from support.sites import POLL_SECONDS, Run, Site, running_site

pytestmark = pytest.mark.heavy

DAG = "ohlcv_retention"
TODAY = datetime.now(UTC).date()
OLD_SNAPSHOTS = 150
STEPS = ("delete", "compact", "expire")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """1m: 20 days that have expired, three files in each of two closed days, today, and 150 snapshots a month old."""
    clock = [datetime.now(UTC) - timedelta(days=40)]
    with commits_at(lambda: clock[0]), running_site(tmp_path_factory.mktemp("kept")) as running:
        running.airflow.unpause(DAG)
        for run in wait_for(lambda: running.runs(DAG, "scheduled"), "a run is scheduled", POLL_SECONDS):
            # Last Sunday's is not what this is about.
            running.airflow.call("PATCH", f"/dags/{DAG}/dagRuns/{run.run_id}", {"state": "success"})
        for _ in range(OLD_SNAPSHOTS):
            clock[0] += timedelta(minutes=5)
            table = candles(running)
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


def candles(site: Site) -> Any:
    return load_table(open_catalog(site.settings), candles_contract(TIMEFRAMES["1m"]))


def rows(site: Site) -> list[tuple[Any, ...]]:
    return sorted(tuple(row.values()) for row in candles(site).scan().to_arrow().to_pylist())


def folder(site: Site) -> Path:
    return site.settings.home / "warehouse" / NAMESPACE / "gold_ohlcv_1m"


def states(site: Site, run: Run, name: str) -> dict[str, str]:
    return {
        task_id.partition(".")[2]: task["state"]
        for task_id, task in site.airflow.tasks(DAG, run.run_id).items()
        if task_id.startswith(f"{name}.")
    }


def test_a_dry_run_shows_the_plan_and_changes_nothing(site: Site) -> None:
    before = site.snapshots("1m")
    run = site.succeeds(site.trigger(DAG, {"dry_run": True, "timeframes": ["1m"]}))
    log = site.log(run, "1m.plan")
    print(log)
    assert f"1m: kept 90 days before {TODAY}: from {TODAY - timedelta(days=90)} on" in log
    assert f"partitions  20, of {TODAY - timedelta(days=120)} to {TODAY - timedelta(days=101)}" in log
    assert "candles     480, " in log
    assert states(site, run, "1m") == {"plan": "success"} | dict.fromkeys((*STEPS, "report"), "skipped")
    assert set(states(site, run, "1h").values()) == {"skipped"}
    assert site.snapshots("1m") == before


@pytest.mark.parametrize(
    ("conf", "complaint"),
    [
        ({"as_of": "2999-01-01"}, "as-of 2999-01-01 is in the future"),
        ({"max_share": 0.001}, "would go, more than 0%: nothing is deleted"),
    ],
)
def test_what_cannot_be_meant_fails_at_once(site: Site, conf: dict[str, Any], complaint: str) -> None:
    before = site.snapshots("1m")
    run = site.ended(site.trigger(DAG, {**conf, "timeframes": ["1m"]}))
    assert run.state == "failed"
    assert complaint in site.log(run, "1m.plan")
    assert site.task(run, "1m.plan")["try_number"] == 1
    assert site.snapshots("1m") == before


def test_the_form_refuses_what_is_no_date(site: Site) -> None:
    with pytest.raises(OhlcvError, match="'soon' is not a 'date'"):
        site.trigger(DAG, {"as_of": "soon"})


def submitted(site: Site, step: str) -> int | None:
    """Give the JVM of a step's job."""
    for pid in descendants(site.airflow.processes["scheduler"].pid):
        words = command_line(pid)
        if "org.apache.spark.deploy.SparkSubmit" in words and f"--steps {step}" in words:
            return pid
    return None


def middle_of(site: Site, step: str) -> Callable[[], bool]:
    """Tell how a step is known to be at work: it has written what it has not committed, or begun to remove."""
    data = set((folder(site) / "data").rglob("*.parquet"))
    metadata = set((folder(site) / "metadata").glob("*"))
    if step == "delete":
        return lambda: any(path.suffix == ".avro" for path in set((folder(site) / "metadata").glob("*")) - metadata)
    if step == "compact":
        return lambda: bool(set((folder(site) / "data").rglob("*.parquet")) - data)
    return lambda: any(not path.exists() for path in metadata if path.suffix == ".avro")


def test_a_kill_in_the_middle_of_every_step_costs_a_retry_and_no_candle(site: Site) -> None:
    young = [row for row in rows(site) if row[0] != "old"]
    before = measure_table(site.settings, TIMEFRAMES["1m"])
    run = site.trigger(DAG, {"timeframes": ["1m"]})
    for step in STEPS:
        pid = wait_for(partial(submitted, site, step), f"{step} is submitted", POLL_SECONDS, patience=300)
        at_work = middle_of(site, step)
        wait_for(at_work, f"{step} is at work", 0.005)
        os.kill(pid, signal.SIGKILL)
        # Whatever had been done by then, every candle that is to stay is there.
        assert [row for row in rows(site) if row[0] != "old"] == young
        print(f"{step}: killed, {len(rows(site)) - len(young)} expired candles left")
    site.succeeds(run)
    tries = {step: site.task(run, f"1m.{step}")["try_number"] for step in STEPS}
    print("tries:", tries)
    assert set(tries.values()) == {2}
    assert rows(site) == young
    after = measure_table(site.settings, TIMEFRAMES["1m"])
    print(site.log(run, "1m.report"))
    assert (before.files, after.files) == (20 + 2 * 3 + 1, 2 + 1)
    assert after.snapshots <= before.snapshots - 30
    # What a second run finds is nothing.
    snapshots = site.snapshots("1m")
    again = site.succeeds(site.trigger(DAG, {"timeframes": ["1m", "1d"]}))
    assert set(states(site, again, "1m").values()) == {"success"}
    assert "nothing has expired" in site.log(again, "1m.delete")
    assert site.snapshots("1m") == snapshots
    assert rows(site) == young
