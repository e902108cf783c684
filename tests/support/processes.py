"""Processes of a test: found from the pids it started or by the environment it gave them, watched, killed."""

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
from ohlcv.spark.spark_submit import SparkJob, started

# Compiled by the quick compiler alone, a short job takes half the processor time: for the test's environment.
QUICK_JAVA = ("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
# Generous: on a busy machine a job takes a minute that takes ten seconds on a quiet one.
WAIT_SECONDS = 240.0
# Looking through /proc takes a few milliseconds that the job could use.
POLL_SECONDS = 0.05

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T | None], what: str, poll_seconds: float = POLL_SECONDS, patience: float = WAIT_SECONDS
) -> T:
    """Wait until a condition gives something true, and give that."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {patience:.0f} s in vain: {what}"
        time.sleep(poll_seconds)
    return found


def all_pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def descendant(root: int, word: str) -> int | None:
    """Give the first process below one whose command line holds a word."""
    return next((pid for pid in descendants(root) if word in command_line(pid)), None)


def carriers(mark: str) -> list[int]:
    """Give the processes whose environment holds a mark: also those whose parents are dead."""
    found = []
    for pid in all_pids():
        with suppress(OSError):
            if pid != os.getpid() and mark.encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
    return [pid for pid in found if parent_of(pid) is not None]


def has_open(pid: int, path: Path) -> bool:
    with suppress(OSError):
        return any(Path(os.readlink(link)) == path for link in Path(f"/proc/{pid}/fd").iterdir())
    return False


@dataclass
class RunningJob:
    """A job under way; its output is read all the time, so that a full pipe never stops it."""

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
        """Give the Python driver's pid, a child of spark-submit's JVM."""
        return descendant(self.process.pid, "spark_jobs/ohlcv_")

    def kill(self, pid: int) -> None:
        """Kill a process outright, one that this job started."""
        if pid == self.process.pid:
            # Popen knows when the process is gone and its number may be another's.
            self.process.kill()
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for the end; give the exit code."""
        self.reader.join(WAIT_SECONDS)
        assert not self.reader.is_alive(), "the job does not end"
        return self.process.wait()


@contextmanager
def running(job: SparkJob, master: str) -> Iterator[RunningJob]:
    """Start a job."""
    with started(job, master) as process:
        under_way = RunningJob(process)
        yield under_way
    under_way.reader.join(WAIT_SECONDS)
