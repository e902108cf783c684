"""The demo as a newcomer sees it: everything up, every timeframe checked, and nothing left after Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from support.processes import QUICK_JAVA, processes_with_environment, command_line, wait_for


def test_the_demo_shows_five_validated_runs_and_ctrl_c_ends_everything(tmp_path: Path) -> None:
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
        wait_for(lambda: ready in log.read_text() or demo.poll() is not None, "the demo is up", patience=900)
        text = log.read_text()
        assert ready in text, text
        runs = re.findall(r"^  (ohlcv_\w+) +\S+ \.\. \S+ .*(success|failed)", text, re.MULTILINE)
        assert runs == [(f"ohlcv_{name}", "success") for name in ("1m", "5m", "30m", "1h", "1d")]
        assert "BTC-USD" in text
        assert re.search(r"Airflow:  http://127\.0\.0\.1:\d+   user admin   password \S+", text)

        def job_runs() -> bool:
            return any("spark_jobs/ohlcv_" in command_line(pid) for pid in processes_with_environment(f"OHLCV_HOME={home}"))

        # Ctrl-C while the days of history are being built.
        wait_for(job_runs, "a job runs")
    finally:
        demo.send_signal(signal.SIGINT)
        code = demo.wait(120)
    assert code == 0
    assert log.read_text().strip().endswith("stopped")
    # The cluster's own do not carry the setting, but the folder they work in is on their command lines.
    left = {pid: command_line(pid) for pid in {*processes_with_environment(f"OHLCV_HOME={home}"), *mentioning(str(tmp_path))}}
    assert left == {}


def mentioning(text: str) -> list[int]:
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return [pid for pid in pids if pid != os.getpid() and text in command_line(pid)]
