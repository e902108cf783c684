"""`ohlcv demo` starts everything, shows a validated run of every timeframe, and leaves no process after Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from support.processes import QUICK_JAVA, all_pids, command_line, processes_with_environment, wait_for


def test_the_demo_shows_five_validated_runs_and_stops_all_processes_on_ctrl_c(tmp_path: Path) -> None:
    home, log = tmp_path / "home", tmp_path / "log"
    program = str(Path(sys.executable).with_name("ohlcv"))
    with log.open("w") as output:
        demo = subprocess.Popen(
            [program, "demo", "--trades", "30000"],
            env=os.environ | dict([QUICK_JAVA]) | {"OHLCV_HOME": str(home)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        ready = "Ctrl-C stops everything"
        wait_for(lambda: ready in log.read_text() or demo.poll() is not None, "the demo is ready", patience=900)
        text = log.read_text()
        assert ready in text, text
        runs = re.findall(r"^  (ohlcv_\w+) +\S+ \.\. \S+ .*(success|failed)", text, re.MULTILINE)
        assert runs == [(f"ohlcv_{name}", "success") for name in ("1m", "5m", "30m", "1h", "1d")]
        assert "BTC-USD" in text
        assert re.search(r"Airflow:  http://127\.0\.0\.1:\d+   user admin   password \S+", text)
        # Ctrl-C while a job builds the days of history.
        wait_for(lambda: job_processes(home), "a job runs")
    finally:
        demo.send_signal(signal.SIGINT)
        code = demo.wait(120)
    assert code == 0
    assert log.read_text().strip().endswith("stopped")
    # The processes of the cluster lack the variable, but their command lines contain the folder.
    mentioning = [pid for pid in all_pids() if pid != os.getpid() and str(tmp_path) in command_line(pid)]
    remaining = {*processes_with_environment(f"OHLCV_HOME={home}"), *mentioning}
    assert {pid: command_line(pid) for pid in remaining} == {}


def job_processes(home: Path) -> list[int]:
    pids = processes_with_environment(f"OHLCV_HOME={home}")
    return [pid for pid in pids if "spark_jobs/ohlcv_" in command_line(pid)]
