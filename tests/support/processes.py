"""Processes of a test: wait for conditions, find processes by parent or environment, run and kill jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ohlcv.spark.processes import descendants, parent_of
from ohlcv.spark.spark_submit import SparkJob, start_job

# Environment variable for JVMs of a test. Without the optimising compiler a short job needs half the CPU time.
QUICK_JAVA = ("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
# On a busy machine a job takes one minute instead of ten seconds.
WAIT_SECONDS = 240.0
# A search through /proc takes a few milliseconds of CPU time, which the job also needs.
POLL_SECONDS = 0.05

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T | None], what: str, poll_seconds: float = POLL_SECONDS, patience: float = WAIT_SECONDS
) -> T:
    """Wait until a condition returns a true value, and return that value."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"timeout after {patience:.0f} s: {what}"
        time.sleep(poll_seconds)
    return found


def all_pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def find_descendant(root: int, text: str) -> int | None:
    """Return the first descendant of a process whose command line contains a text."""
    return next((pid for pid in descendants(root) if text in command_line(pid)), None)


def processes_with_environment(variable: str) -> list[int]:
    """Return the other processes whose environment contains NAME=VALUE, including orphaned ones."""
    found = []
    for pid in all_pids():
        with suppress(OSError):
            if pid != os.getpid() and variable.encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
    return [pid for pid in found if parent_of(pid) is not None]


def has_open_file(pid: int, path: Path) -> bool:
    with suppress(OSError):
        return any(Path(os.readlink(link)) == path for link in Path(f"/proc/{pid}/fd").iterdir())
    return False


def has_mapped_file(pid: int, name: str) -> bool:
    """Return whether a process has mapped a file of this name into its memory, as it does with a library."""
    with suppress(OSError):
        return name in Path(f"/proc/{pid}/maps").read_text()
    return False


@dataclass
class RunningJob:
    """A running job. A thread reads its output, so that a full pipe never blocks it."""

    process: subprocess.Popen[str]
    output: str = ""
    log: str = ""
    reader: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        self.output, self.log = self.process.communicate()

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def driver(self) -> int | None:
        """Return the pid of the Python driver, a child of the spark-submit JVM."""
        return find_descendant(self.process.pid, "spark_jobs/ohlcv_")

    def kill(self, pid: int, kind: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a process of this job."""
        if pid == self.process.pid:
            # Popen does not signal a process that has ended, whose pid may belong to another process by now.
            self.process.send_signal(kind)
            return
        with suppress(ProcessLookupError):
            os.kill(pid, kind)

    def wait(self) -> int:
        """Wait until the job ends and return its exit code."""
        self.reader.join(WAIT_SECONDS)
        assert not self.reader.is_alive(), f"the job has not ended after {WAIT_SECONDS:.0f} s"
        return self.process.wait()


@contextmanager
def running_job(job: SparkJob, master: str) -> Iterator[RunningJob]:
    """Run a job. Leaving the block terminates it if it still runs."""
    with start_job(job, master) as process:
        running = RunningJob(process)
        yield running
    running.reader.join(WAIT_SECONDS)
