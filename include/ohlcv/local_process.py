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

from ohlcv.errors import OhlcvError

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
