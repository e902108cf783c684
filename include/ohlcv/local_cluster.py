"""A Spark standalone master and workers on this machine's loopback, for the demo and the tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ohlcv.errors import OhlcvError
from ohlcv.toolchain import jar_paths, spark_environment, spark_home

HOST = "127.0.0.1"
START_SECONDS = 60.0


@dataclass
class LocalCluster:
    """A running cluster: its address and its processes."""

    master: str
    web: str
    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def add_worker(self, name: str, cores: int, memory: str) -> None:
        """Start one more worker and wait until the master has it."""
        process, log = _start(
            self.folder,
            name,
            "org.apache.spark.deploy.worker.Worker",
            *("--host", HOST, "--port", "0", "--webui-port", "0"),
            *("--cores", str(cores), "--memory", memory, "--work-dir", str(self.folder / "work")),
            self.master,
        )
        self.processes[name] = process
        _await_line(process, log, r"Successfully registered with master")


@contextmanager
def local_cluster(folder: Path, cores: int = 1, memory: str = "1g", workers: int = 1) -> Iterator[LocalCluster]:
    """Start a master and workers on free ports; leaving the block ends them and what they started."""
    folder.mkdir(parents=True, exist_ok=True)
    master, log = _start(
        folder,
        "master",
        "org.apache.spark.deploy.master.Master",
        *("--host", HOST, "--port", "0", "--webui-port", "0"),
    )
    processes = {"master": master}
    try:
        address = _await_line(master, log, r"Starting Spark master at (spark://\S+)")
        web_port = _await_line(master, log, r"Successfully started service 'MasterUI' on port (\d+)")
        cluster = LocalCluster(address, f"http://{HOST}:{web_port}", folder, processes)
        for number in range(1, workers + 1):
            cluster.add_worker(f"worker-{number}", cores, memory)
        yield cluster
    finally:
        for name in reversed(processes):
            stop(processes[name])


def _start(folder: Path, name: str, main_class: str, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
    log = folder / f"{name}.log"
    environment = spark_environment() | {
        "SPARK_LOCAL_IP": HOST,
        "SPARK_DAEMON_CLASSPATH": ":".join(str(path) for path in jar_paths()),
        # The daemons run for long and do little: a small heap and few threads.
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": "-XX:+UseSerialGC",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(spark_home() / "bin" / "spark-class"), main_class, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A group of its own: Ctrl-C is for us to handle, and executors end with their worker.
            start_new_session=True,
        )
    return process, log


def _await_line(process: subprocess.Popen[bytes], log: Path, pattern: str) -> str:
    """Wait until a log holds a line; give its first group, or the line."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        if found := re.search(pattern, text):
            return found[found.lastindex or 0]
        if process.poll() is not None:
            last = (text.strip().splitlines() or ["it said nothing"])[-1]
            raise OhlcvError(f"Spark's {log.stem} ended at once ({last}): see {log}")
        time.sleep(0.1)
    raise OhlcvError(f"Spark's {log.stem} was not ready within {START_SECONDS:.0f} s: see {log}")


def stop(process: subprocess.Popen[bytes], grace_seconds: float = 10.0) -> None:
    """End a process group: politely, then for good."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            pass
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
