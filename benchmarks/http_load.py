"""Concurrent HTTP clients in a process of their own: `python -m benchmarks.http_load`, the load as JSON on stdin.

One thread reads all connections into one buffer and parses only the status line and the length of an answer, so that
the clients take little of the processor time that the server needs.
"""

from __future__ import annotations

import heapq
import json
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ohlcv.model.errors import OhlcvError

ROOT = Path(__file__).parent.parent
BUFFER_BYTES = 1 << 20
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
# Instead of a status: the server has closed the connection, or has not answered until the end of the load.
BROKEN, UNANSWERED = 0, -1


@dataclass(frozen=True)
class Load:
    """Requests of clients, each with one connection and one request at a time. The clients share the targets."""

    host: str
    port: int
    targets: Sequence[str]
    headers: dict[str, str]
    clients: int = 1
    # Without it, each target is requested once.
    seconds: float | None = None
    # Seconds between an answer and the next request of a client.
    pause: float = 0.0
    # Seconds after the end in which the last answers may arrive.
    grace: float = 60.0


@dataclass
class Answers:
    """Answers to a load."""

    # (number of the target, status, milliseconds) of each answer.
    rows: list[tuple[int, int, float]] = field(default_factory=list)
    bytes: int = 0
    wall: float = 0.0
    # Processor seconds of the clients.
    processor: float = 0.0

    def milliseconds(self, status: int, target: int | None = None) -> list[float]:
        """Return the times of the answers with a status."""
        return [ms for number, found, ms in self.rows if found == status and target in (None, number)]

    def statuses(self) -> dict[int, int]:
        """Return the number of answers by status."""
        found: dict[int, int] = {}
        for _, status, _ in self.rows:
            found[status] = found.get(status, 0) + 1
        return found

    def require(self, status: int) -> Answers:
        """Raise OhlcvError unless every answer has a status."""
        if set(self.statuses()) != {status}:
            raise OhlcvError(f"expected only answers with status {status}, found {self.statuses()}")
        return self


def percentile(milliseconds: Sequence[float], percent: float) -> float:
    """Return a percentile."""
    return float(np.percentile(milliseconds, percent))


class RunningLoad:
    """A load that a process executes."""

    def __init__(self, load: Load) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.http_load"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin
        self._process.stdin.write(json.dumps(asdict(load)))
        self._process.stdin.close()

    def answers(self) -> Answers:
        """Wait for the end of the load."""
        assert self._process.stdout
        with self._process.stdout as output:
            text = output.read()
        if code := self._process.wait():
            raise OhlcvError(f"the clients ended with code {code}")
        found = json.loads(text)
        return Answers(**{**found, "rows": [tuple(row) for row in found["rows"]]})


def run_load(load: Load) -> Answers:
    """Execute a load in a process and wait for its end."""
    return RunningLoad(load).answers()


class _Client:
    """A connection and the state of its request."""

    def __init__(self, load: Load, selector: selectors.BaseSelector) -> None:
        self._load = load
        self._selector = selector
        lines = [f"Host: {load.host}", *(f"{name}: {value}" for name, value in load.headers.items())]
        self._head = " HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n"
        self._connect()
        self.target: int | None = None
        self.begin = 0.0

    def send(self, target: int) -> None:
        """Send the next request."""
        self.target = target
        self._start, self._status, self._missing = b"", 0, 0
        self.begin = time.perf_counter()
        self._socket.sendall(("GET " + self._load.targets[target] + self._head).encode())

    def receive(self, buffer: bytearray) -> tuple[int, int]:
        """Read what has arrived. Return the bytes, and the status of a complete answer, otherwise -1."""
        try:
            count = self._socket.recv_into(buffer)
        except ConnectionError:
            count = 0
        if not count:
            self.close()
            self._connect()
            return 0, BROKEN
        if self._status:
            self._missing -= count
        else:
            self._start += bytes(memoryview(buffer)[:count])
            head, end, body = self._start.partition(b"\r\n\r\n")
            if not end:
                return count, -1
            self._status = int(head[9:12])
            length = _LENGTH.search(head)
            if length is None and self._status not in (204, 304):
                raise OhlcvError("the clients read only answers with a Content-Length")
            self._missing = (0 if length is None or self._status == 304 else int(length[1])) - len(body)
        return count, -1 if self._missing else self._status

    def close(self) -> None:
        self._selector.unregister(self._socket)
        self._socket.close()

    def _connect(self) -> None:
        self._socket = socket.create_connection((self._load.host, self._load.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(self._socket, selectors.EVENT_READ, self)


def execute(load: Load) -> Answers:
    """Execute a load in this process."""
    selector, buffer, found = selectors.DefaultSelector(), bytearray(BUFFER_BYTES), Answers()
    clients = [_Client(load, selector) for _ in range(load.clients)]
    begin, processor, sent, number = time.perf_counter(), time.process_time(), 0, 0
    end = float("inf") if load.seconds is None else begin + load.seconds
    # (time of the next request, number, client) of the clients without a request.
    # With a pause, their first requests are spread over it.
    idle: list[tuple[float, int, _Client]] = [
        (begin + load.pause * number / load.clients, number, client) for number, client in enumerate(clients)
    ]
    running: set[_Client] = set()
    number = len(clients)
    while True:
        now = time.perf_counter()
        # Every client sends one request, however late it is.
        remaining = len(load.targets) - sent if load.seconds is None else load.clients - sent if now >= end else 1
        if remaining <= 0 and (not running or now > end + load.grace):
            break
        while remaining > 0 and idle and idle[0][0] <= now:
            _, _, client = heapq.heappop(idle)
            client.send(sent % len(load.targets))
            running.add(client)
            sent += 1
            remaining -= load.seconds is None or now >= end
        wait = min(idle[0][0], end) - now if remaining > 0 and idle else 0.05
        for key, _ in selector.select(max(0.0, min(wait, 0.05))):
            client = key.data
            size, status = client.receive(buffer)
            found.bytes += size
            if client not in running or status < 0:
                continue
            done = time.perf_counter()
            assert client.target is not None
            found.rows.append((client.target, status, 1000 * (done - client.begin)))
            running.discard(client)
            number += 1
            heapq.heappush(idle, (done + load.pause, number, client))
    found.wall, found.processor = time.perf_counter() - begin, time.process_time() - processor
    for client in running:
        assert client.target is not None
        found.rows.append((client.target, UNANSWERED, 1000 * (time.perf_counter() - client.begin)))
    for client in clients:
        with suppress(OSError):
            client.close()
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(execute(Load(**json.load(sys.stdin))))))
