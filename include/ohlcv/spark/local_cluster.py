"""A Spark standalone cluster on the loopback address, for the demo and the tests."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ohlcv.config.settings import load_settings
from ohlcv.spark.processes import HOST, start, stop, wait_for_line
from ohlcv.spark.standalone import Role, command, environment, recovery_folder
from ohlcv.spark.toolchain import spark_home


@dataclass
class LocalCluster:
    """A running cluster: its addresses and its processes."""

    folder: Path
    # The Spark home of the daemons and of the executors that they start.
    home: Path
    master: str = ""
    web: str = ""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start_master(self) -> None:
        """Start the master, on the ports of an earlier start if there was one, and wait for its addresses."""
        port, web_port = (str(urlsplit(address).port or 0) for address in (self.master, self.web))
        process, log = self._start("master", "master", *("--host", HOST, "--port", port, "--webui-port", web_port))
        self.master = wait_for_line(process, log, r"Starting Spark master at (spark://\S+)")
        port = wait_for_line(process, log, r"Successfully started service 'MasterUI' on port (\d+)")
        self.web = f"http://{HOST}:{port}"

    def add_worker(self, name: str, cores: int, memory: str) -> None:
        """Start one more worker and wait until it has registered with the master."""
        process, log = self._start(
            name,
            "worker",
            *("--host", HOST, "--port", "0", "--webui-port", "0"),
            *("--cores", str(cores), "--memory", memory, "--work-dir", str(self.folder / "work")),
            self.master,
        )
        wait_for_line(process, log, r"Successfully registered with master")

    def _start(self, name: str, role: Role, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
        log = self.folder / f"{name}.log"
        variables = environment(load_settings(), recovery_folder(self.folder))
        variables |= {"SPARK_LOCAL_IP": HOST, "SPARK_HOME": str(self.home)}
        process = self.processes[name] = start(command(role, *arguments, home=self.home), variables, log)
        return process, log


@contextmanager
def local_cluster(
    folder: Path, cores: int = 1, memory: str = "1g", workers: int = 1, home: Path | None = None
) -> Iterator[LocalCluster]:
    """Run a master and workers on free ports. Leaving the block stops them and their child processes."""
    folder.mkdir(parents=True, exist_ok=True)
    # Otherwise the master would wait for the workers of an earlier cluster.
    shutil.rmtree(recovery_folder(folder))
    cluster = LocalCluster(folder, home or spark_home())
    try:
        cluster.start_master()
        for number in range(1, workers + 1):
            cluster.add_worker(f"worker-{number}", cores, memory)
        yield cluster
    finally:
        for process in reversed(cluster.processes.values()):
            stop(process)
