"""Server processes of the demo and the tests: start them, wait for a log line, stop them with their children."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ohlcv.model.errors import OhlcvError

HOST = "127.0.0.1"
START_SECONDS = 90.0


def start(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process whose output goes to a log file."""
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Its own process group: Ctrl-C reaches only this program, and stop() can signal the whole group.
            start_new_session=True,
        )


def free_port(preferred: int = 0) -> int:
    """Return a free port of the loopback address: the preferred one if it is free, otherwise any."""
    with socket.socket() as listener:
        # The servers set this option too. Without it a port in TIME_WAIT counts as used.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, preferred))
        except OSError:
            listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def wait_for_line(process: subprocess.Popen[bytes], log: Path, pattern: str) -> str:
    """Wait until the log matches a pattern. Return the first group of the match, or the whole match."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        if found := re.search(pattern, text):
            return found[found.lastindex or 0]
        if process.poll() is not None:
            last = (text.strip().splitlines() or ["no output"])[-1]
            raise OhlcvError(f"{log.stem} stopped during its start ({last}): see {log}")
        time.sleep(0.1)
    raise OhlcvError(f"{log.stem} was not ready within {START_SECONDS:.0f} s: see {log}")


def stop(process: subprocess.Popen[bytes], grace_seconds: float = 10.0) -> None:
    """Stop a process and its descendants: SIGTERM first, SIGKILL after the grace period."""
    # The list is taken first, because children of a dead parent cannot be found any more. Some children have their own
    # process group.
    children = {pid: start_time for pid in descendants(process.pid) if (start_time := _start_time(pid))}
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            pass
    children |= {pid: start_time for pid in descendants(process.pid) if (start_time := _start_time(pid))}
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pid, start_time in children.items():
        # The kernel may have given the pid to another process in the meantime.
        if _start_time(pid) == start_time:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def descendants(root: int) -> list[int]:
    """Return the living descendants of a process, parents before their children."""
    parents = {int(path.name): parent_of(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit()}
    found = [root]
    for ancestor in found:
        found += [pid for pid, parent in parents.items() if parent == ancestor]
    return found[1:]


def parent_of(pid: int) -> int | None:
    """Return the pid of the parent process, or None if the process has ended or is a zombie."""
    fields = _status(pid)
    return int(fields[1]) if fields and fields[0] != "Z" else None


def _start_time(pid: int) -> str | None:
    fields = _status(pid)
    return fields[19] if fields else None


def _status(pid: int) -> list[str] | None:
    with suppress(OSError):
        # The fields follow the process name, which is in parentheses and may contain any character.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return None
