"""A Spark standalone master and workers on this machine's loopback, for the demo and the tests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ohlcv.local_process import HOST, await_line, start, stop
from ohlcv.settings import load_settings
from ohlcv.spark_daemon import Role, command, environment


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
            "worker",
            *("--host", HOST, "--port", "0", "--webui-port", "0"),
            *("--cores", str(cores), "--memory", memory, "--work-dir", str(self.folder / "work")),
            self.master,
        )
        self.processes[name] = process
        await_line(process, log, r"Successfully registered with master")


@contextmanager
def local_cluster(folder: Path, cores: int = 1, memory: str = "1g", workers: int = 1) -> Iterator[LocalCluster]:
    """Start a master and workers on free ports; leaving the block ends them and what they started."""
    folder.mkdir(parents=True, exist_ok=True)
    master, log = _start(
        folder,
        "master",
        "master",
        *("--host", HOST, "--port", "0", "--webui-port", "0"),
    )
    processes = {"master": master}
    try:
        address = await_line(master, log, r"Starting Spark master at (spark://\S+)")
        web_port = await_line(master, log, r"Successfully started service 'MasterUI' on port (\d+)")
        cluster = LocalCluster(address, f"http://{HOST}:{web_port}", folder, processes)
        for number in range(1, workers + 1):
            cluster.add_worker(f"worker-{number}", cores, memory)
        yield cluster
    finally:
        for name in reversed(processes):
            stop(processes[name])


def _start(folder: Path, name: str, role: Role, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
    log = folder / f"{name}.log"
    own = environment(load_settings()) | {"SPARK_LOCAL_IP": HOST}
    return start(command(role, *arguments), own, log), log
