"""Processes of the demo and the tests: started in groups of their own, awaited by their logs, ended for sure."""

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
    """Start a process that writes to a log."""
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A group of its own: Ctrl-C is for us to handle, and children end with it.
            start_new_session=True,
        )


def free_port(preferred: int = 0) -> int:
    """Find a free port of the loopback: the preferred one, or else any."""
    with socket.socket() as listener:
        # As the servers do: a port whose last user has just gone is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, preferred))
        except OSError:
            listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def await_line(process: subprocess.Popen[bytes], log: Path, pattern: str) -> str:
    """Wait until a log holds a line; give its first group, or the line."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        if found := re.search(pattern, text):
            return found[found.lastindex or 0]
        if process.poll() is not None:
            last = (text.strip().splitlines() or ["it said nothing"])[-1]
            raise OhlcvError(f"{log.stem} ended at once ({last}): see {log}")
        time.sleep(0.1)
    raise OhlcvError(f"{log.stem} was not ready within {START_SECONDS:.0f} s: see {log}")


def stop(process: subprocess.Popen[bytes], grace_seconds: float = 10.0) -> None:
    """End a process and everything below it: politely, then for good."""
    # Looked up before: children of a parent that is gone are nobody's. Some have groups of their own.
    below = {pid: birth for pid in descendants(process.pid) if (birth := _birth_of(pid))}
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            pass
    below |= {pid: birth for pid in descendants(process.pid) if (birth := _birth_of(pid))}
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pid, birth in below.items():
        # A number that has gone to another process meanwhile is left alone.
        if _birth_of(pid) == birth:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def descendants(root: int) -> list[int]:
    """Give the living processes below one, parents first."""
    parents = {int(path.name): parent_of(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit()}
    found = [root]
    for above in found:
        found += [pid for pid, parent in parents.items() if parent == above]
    return found[1:]


def parent_of(pid: int) -> int | None:
    """Give a process's parent; none for one that is gone or a zombie, which nobody can kill any more."""
    fields = _status(pid)
    return int(fields[1]) if fields and fields[0] != "Z" else None


def _birth_of(pid: int) -> str | None:
    fields = _status(pid)
    return fields[19] if fields else None


def _status(pid: int) -> list[str] | None:
    with suppress(OSError):
        # The name, in brackets, may hold anything; the state and the other fields follow it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return None
