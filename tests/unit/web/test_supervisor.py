"""Supervisor of the candle service: replaces a worker that ended, is stuck, is too large or has a stuck request."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ohlcv.web import supervisor as module
from ohlcv.web.supervisor import Supervisor, resident_bytes

# A worker that answers each connection with its pid, and obeys the connection's request. It has no imports that take
# time: the tests start about twenty.
WORKER = """
import os, signal, socket, sys, threading, time
listener, channel = (socket.socket(fileno=int(text)) for text in sys.argv[1:3])
ending = []
signal.signal(signal.SIGTERM, lambda *_: ending.append(1))
threading.Thread(target=lambda: (channel.recv(1), os._exit(1)), daemon=True).start()
listener.settimeout(0.05)
heartbeat = b"."
while not ending:
    if heartbeat:
        channel.send(heartbeat)
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        continue
    with connection:
        connection.settimeout(None)
        command = connection.recv(100)
        connection.sendall(str(os.getpid()).encode())
    if command == b"exit":
        os._exit(3)
    if command == b"stop":
        heartbeat = b""
    if command == b"overrun":
        heartbeat = b"!"
os._exit(0)
"""


class Running:
    """A supervisor in a thread, which ends at the end of a pipe."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self.log: list[str] = []
        self.ready = threading.Event()
        self._changed = threading.Condition()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.reader, self.parent = os.pipe()
        self.supervisor = Supervisor(self.listener, self._write, command=command, until_end_of=self.reader)
        self.thread = threading.Thread(target=self.supervisor.run, args=(self.ready.set,))
        self.thread.start()

    def _write(self, line: str) -> None:
        with self._changed:
            self.log.append(line)
            self._changed.notify_all()

    def wait_for(self, text: str, count: int = 1) -> str:
        """Return the last line with a text as soon as the log has this number of them."""
        with self._changed:
            assert self._changed.wait_for(lambda: sum(text in line for line in self.log) >= count, 60), self.log
            return [line for line in self.log if text in line][-1]

    def send(self, command: str = "pid") -> int:
        """Send a command to the worker that accepts the connection, and return its pid."""
        with socket.create_connection(self.listener.getsockname(), timeout=60) as connection:
            connection.sendall(command.encode())
            return int(connection.recv(100))

    def end(self) -> None:
        os.close(self.parent)
        self.thread.join(60)
        assert not self.thread.is_alive()
        self.listener.close()
        os.close(self.reader)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Running]]:
    monkeypatch.setattr(module, "TICK_SECONDS", 0.02)
    started = []

    def start(code: str = WORKER) -> Running:
        started.append(Running((sys.executable, "-S", "-c", code)))
        return started[-1]

    yield start
    for running in started:
        if running.thread.is_alive():
            running.end()


def test_a_worker_that_ends_is_started_again_with_a_delay(start: Callable[..., Running]) -> None:
    running = start()
    assert running.ready.wait(60)
    first = running.send("exit")
    assert running.wait_for("ended") == f"worker {first} ended with code 3: starting another in 1 s"
    running.wait_for("serves", 2)
    second = running.send()
    assert second != first
    os.kill(second, signal.SIGKILL)
    # The service listens while no worker runs.
    assert running.send() not in (first, second)
    assert running.wait_for("SIGKILL") == f"worker {second} ended by SIGKILL: starting another in 2 s"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("stop", "does not respond for 1 s: replacing it"),
        ("overrun", "has a request that is stuck: replacing it"),
        ("memory", "uses 600 MB of memory, more than 512 MB: replacing it"),
    ],
)
def test_a_faulty_worker_is_replaced_while_it_serves(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, command: str, reason: str
) -> None:
    monkeypatch.setattr(module, "STUCK_SECONDS", 1.0)
    running = start()
    assert running.ready.wait(60)
    first = running.send("stop" if command == "stop" else "overrun" if command == "overrun" else "pid")
    if command == "memory":
        monkeypatch.setattr(module, "resident_bytes", lambda pid: 600 * 1024 * 1024 if pid == first else 0)
    assert running.wait_for("replacing") == f"worker {first} {reason}"
    running.wait_for("serves", 2)
    # The old one gets SIGTERM after the new one was ready.
    while running.send() == first:
        pass
    assert [line for line in running.log if "ended" in line] == []


def test_a_worker_that_ignores_its_end_is_killed(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "END_SECONDS", 0.1)
    running = start(WORKER.replace("lambda *_: ending.append(1)", "signal.SIG_IGN"))
    assert running.ready.wait(60)
    first = running.send("overrun")
    assert running.wait_for("killing it") == f"worker {first} has not ended: killing it"


def test_a_worker_that_does_not_start_is_tried_again_less_often(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY_SECONDS", 0.01)
    running = start("raise SystemExit(1)")
    running.wait_for("ended with code 1", 5)
    assert not running.ready.is_set()
    monkeypatch.setattr(module, "FIRST_DELAY_SECONDS", 1000.0)
    running.wait_for("starting another in 60 s")


def test_a_worker_that_is_never_ready_is_stopped(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 0.1)
    running = start("import time; time.sleep(1000)")
    running.wait_for("is not ready: stopping it")
    running.wait_for("ended by SIGKILL")


def test_the_end_of_the_supervisor_ends_the_worker(start: Callable[..., Running]) -> None:
    running = start()
    assert running.ready.wait(60)
    pid = running.send()
    running.end()
    assert resident_bytes(pid) == 0
    assert not Path(f"/proc/{pid}").exists()
