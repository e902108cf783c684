"""The demo: a validated run of every timeframe, commands in a second shell, a cleared run, and a complete stop."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ohlcv.iceberg.snapshot_summary import job_summary, main_snapshots
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model import summary_keys
from ohlcv.model.timeframes import get_timeframe
from ohlcv.monitoring.airflow_client import AirflowApi
from support.default_tables import candles_contract
from support.demos import BIN, ROOT, Demo, running_demo
from support.processes import all_pids, command_line, processes_with_environment, wait_for
from support.sites import parse_job_arguments

pytestmark = [pytest.mark.services, pytest.mark.timeout(3600)]


def test_the_demo_runs_answers_a_second_shell_and_stops_completely(tmp_path: Path) -> None:
    with running_demo(tmp_path) as demo:
        assert_five_validated_scheduled_runs(demo.log.read_text())
        api = demo.api()
        assert_cleared_run_builds_its_range_again_without_a_commit(demo, api)
        assert_backfill_command_of_the_readme_works(demo, api)
    assert demo.process.returncode == 0
    assert demo.log.read_text().strip().endswith("stopped")
    # The processes of the cluster lack the variable, but their command lines contain the folder.
    mentioning = [pid for pid in all_pids() if pid != os.getpid() and str(tmp_path) in command_line(pid)]
    remaining = {*processes_with_environment(f"OHLCV_HOME={demo.home}"), *mentioning}
    assert {pid: command_line(pid) for pid in remaining} == {}
    # Without a running demo, the second shell gets one line.
    refused = demo.shell(f"{BIN}/ohlcv airflow dags list")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "no demo runs in" in refused.stderr


def assert_five_validated_scheduled_runs(text: str) -> None:
    runs = re.findall(r"^  (ohlcv_\w+) +\S+ \.\. \S+ .*(success|failed)", text, re.MULTILINE)
    assert runs == [(f"ohlcv_{name}", "success") for name in ("1m", "5m", "30m", "1h", "1d")]
    assert "BTC-USD" in text
    assert re.search(r"Airflow:  http://127\.0\.0\.1:\d+   user admin   password \S+", text)
    assert re.search(r"Candles:  http://127\.0\.0\.1:\d+/plugin/candles   also for user viewer   password \S+", text)


def assert_cleared_run_builds_its_range_again_without_a_commit(demo: Demo, api: AirflowApi) -> None:
    (run,) = [each for each in api.runs("ohlcv_1d") if each["run_type"] == "scheduled"]
    path = f"/dags/ohlcv_1d/dagRuns/{run['dag_run_id']}"
    built = parse_job_arguments(api.call("GET", f"{path}/taskInstances/aggregate"))
    assert commits(demo, "1d", run["dag_run_id"]) == 1
    api.call("POST", f"{path}/clear", {"dry_run": False, "only_failed": False})
    # The demo reprocesses its days of history meanwhile; the pool runs one Spark job at a time.
    wait_for(
        lambda: (found := api.call("GET", path))["state"] == "success" and found["end_date"] != run["end_date"],
        "the cleared run succeeds",
        patience=600,
    )
    again = parse_job_arguments(api.call("GET", f"{path}/taskInstances/aggregate"))
    assert (again["--start"], again["--end"]) == (built["--start"], built["--end"])
    assert (built["--rebuild-pending"], again["--rebuild-pending"]) == ("yes", "no")
    assert commits(demo, "1d", run["dag_run_id"]) == 1


def assert_backfill_command_of_the_readme_works(demo: Demo, api: AirflowApi) -> None:
    """Type the README's commands, with one hour of yesterday in place of its dates."""
    readme = (ROOT / "README.md").read_text()
    prepare = 'eval "$(.venv/bin/ohlcv env)"'
    assert f"    {prepare}\n" in readme
    (command,) = re.findall(r"^    (airflow dags backfill -s \S+ -e \S+) ohlcv_reprocess$", readme, re.MULTILINE)
    hour = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:15")
    command = re.sub(r"-s \S+ -e \S+", f"-s {hour} -e {hour}", command)
    result = demo.shell(f"{prepare.replace('.venv/bin', str(BIN))}\n{command} ohlcv_1h")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 of 1 runs done" in result.stderr
    assert [run["state"] for run in api.runs("ohlcv_1h") if run["run_type"] == "backfill"] == ["success"]


def commits(demo: Demo, name: str, run_id: str) -> int:
    """Return the number of commits that a run made in a candle table."""
    table = load_table(open_catalog(demo.settings), candles_contract(get_timeframe(name)))
    return sum(job_summary(snapshot).get(summary_keys.RUN_ID) == run_id for snapshot in main_snapshots(table))
