"""Process that stops before or after the first call of a function, so that a test can kill it there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from support.processes import WAIT_SECONDS, wait_for

_STOP = """
import sys
import time
from pathlib import Path
from pkgutil import resolve_name

function, moment, marker, *arguments = sys.argv[1:]

def wait_forever():
    Path(marker).touch()
    while True:
        time.sleep(60)

def replacement(*values, **options):
    if moment == "before":
        wait_forever()
    original(*values, **options)
    wait_forever()

if function:
    owner, _, name = function.rpartition(".")
    original = getattr(resolve_name(owner), name)
    setattr(resolve_name(owner), name, replacement)
"""


@dataclass(frozen=True)
class StopPoint:
    """The function before or after which a process stops, and whether what it does is stored then."""

    function: str
    moment: Literal["before", "after"]
    is_stored: bool = False


@contextmanager
def started(
    program: str, arguments: Sequence[str], point: StopPoint | None = None, marker: Path = Path()
) -> Iterator[subprocess.Popen[str]]:
    """Start a Python program, whose list `arguments` has the arguments, and end it at the end of the block.

    The process creates the file `marker` when it stops at the point.
    """
    stop = ("", "") if point is None else (point.function, point.moment)
    command = [sys.executable, "-c", _STOP + program, *stop, str(marker), *arguments]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def kill_at_point(process: subprocess.Popen[str], marker: Path) -> None:
    """Kill a process with SIGKILL when it has stopped."""
    wait_for(lambda: marker.exists() or process.poll() is not None, "the process stops at the point")
    assert process.poll() is None, process.communicate()
    process.kill()
    process.wait(WAIT_SECONDS)


def finish(process: subprocess.Popen[str]) -> None:
    """Wait until a process has ended successfully."""
    _, log = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0, log
