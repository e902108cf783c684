"""Supervisor of the candle service: owns the listening socket and replaces the worker process when it is faulty."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

MEMORY_LIMIT = 512 * 1024 * 1024
# A worker without a heartbeat for so long is stuck.
STUCK_SECONDS = 10.0
START_SECONDS = 120.0
# Work of a worker that ends may take this long. Longer than the grace period of the worker itself.
END_SECONDS = 15.0
TICK_SECONDS = 1.0
# A worker that has run for so long is not part of a crash loop.
STABLE_SECONDS = 60.0
FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS = 1.0, 60.0
# With them the resident memory under load is a third smaller: freed memory is returned to the system.
WORKER_MEMORY = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(2**22),
    "MALLOC_TRIM_THRESHOLD_": str(2**24),
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Heartbeat of a worker with stuck work (worker.OVERRUN). The supervisor does not import the worker: it stays small.
_OVERRUN = b"!"


@dataclass
class Worker:
    """A worker process."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    started_at: float = field(default_factory=time.monotonic)
    # Time of the last heartbeat. None before the first: the worker is starting.
    heartbeat_at: float | None = None
    overrun: bool = False
    # Time at which it must have ended. None while it serves.
    end_by: float | None = None

    def fault(self) -> str | None:
        """Return why the worker must be replaced."""
        now = time.monotonic()
        if self.heartbeat_at is None:
            return "is not ready" if now - self.started_at > START_SECONDS else None
        if now - self.heartbeat_at > STUCK_SECONDS:
            return f"does not respond for {STUCK_SECONDS:.0f} s"
        if self.overrun:
            return "has a request that is stuck"
        memory = resident_bytes(self.process.pid)
        if memory > MEMORY_LIMIT:
            return f"uses {memory >> 20} MB of memory, more than {MEMORY_LIMIT >> 20} MB"
        return None

    def end(self) -> None:
        """Let the worker finish its requests and end."""
        self.end_by = time.monotonic() + END_SECONDS
        self.process.terminate()


class Supervisor:
    """Keeps one worker serving."""

    def __init__(
        self,
        listener: socket.socket,
        log: Callable[[str], None],
        *,
        options: tuple[str, ...] = (),
        command: tuple[str, ...] = (sys.executable, "-m", "ohlcv.web.worker"),
        until_end_of: int | None = None,
    ) -> None:
        self._listener = listener
        self._log = log
        self._command = command
        self._options = options
        self._workers: list[Worker] = []
        self._failures = 0
        self._next_start = 0.0
        self._selector = selectors.DefaultSelector()
        self._until_end_of = until_end_of
        if until_end_of is not None:
            self._selector.register(until_end_of, selectors.EVENT_READ)

    def run(self, ready: Callable[[], None]) -> None:
        """Run workers until the end of the given file (or forever). Call `ready` when the first one serves."""
        announced = False
        try:
            while True:
                self._tick()
                for key, _ in self._selector.select(TICK_SECONDS):
                    if key.data is None:
                        if not os.read(key.fd, 4096):
                            return
                    elif self._read_heartbeat(key.data) and not announced:
                        announced = True
                        ready()
        finally:
            self.close()

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.end()
        try:
            for worker in self._workers:
                with suppress(subprocess.TimeoutExpired):
                    worker.process.wait(END_SECONDS)
        finally:
            for worker in [*self._workers]:
                worker.process.kill()
                worker.process.wait()
                self._remove(worker)
            self._selector.close()

    def _tick(self) -> None:
        for worker in [*self._workers]:
            self._check(worker)
        starting = [worker for worker in self._workers if worker.heartbeat_at is None]
        serving = [worker for worker in self._workers if worker.heartbeat_at is not None and worker.end_by is None]
        if starting or time.monotonic() < self._next_start:
            return
        if not serving:
            self._start()
        elif fault := serving[0].fault():
            self._log(f"worker {serving[0].process.pid} {fault}: replacing it")
            self._count_failure(serving[0])
            self._start()

    def _check(self, worker: Worker) -> None:
        code = worker.process.poll()
        if code is None:
            if worker.heartbeat_at is None and (fault := worker.fault()):
                self._log(f"worker {worker.process.pid} {fault}: stopping it")
                worker.process.kill()
            elif worker.end_by is not None and time.monotonic() > worker.end_by:
                self._log(f"worker {worker.process.pid} has not ended: killing it")
                worker.process.kill()
            return
        self._remove(worker)
        if worker.end_by is None:
            self._count_failure(worker)
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
            delay = max(0.0, self._next_start - time.monotonic())
            self._log(f"worker {worker.process.pid} ended {how}: starting another in {delay:.0f} s")

    def _count_failure(self, worker: Worker) -> None:
        """Delay the next start but one if workers fail repeatedly soon after their start."""
        lived = time.monotonic() - worker.started_at
        self._failures = 1 if lived > STABLE_SECONDS else self._failures + 1
        self._next_start = time.monotonic() + min(
            MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(self._failures - 1, 10)
        )

    def _start(self) -> None:
        own, channel = socket.socketpair()
        with channel:
            process = subprocess.Popen(
                [*self._command, str(self._listener.fileno()), str(channel.fileno()), *self._options],
                env=WORKER_MEMORY | os.environ,
                stdin=subprocess.DEVNULL,
                pass_fds=(self._listener.fileno(), channel.fileno()),
                # Ctrl-C reaches only the supervisor, which ends the worker.
                start_new_session=True,
            )
        own.setblocking(False)
        worker = Worker(process, own)
        self._workers.append(worker)
        self._selector.register(own, selectors.EVENT_READ, worker)

    def _read_heartbeat(self, worker: Worker) -> bool:
        """Return whether the worker serves."""
        try:
            received = worker.channel.recv(4096)
        except OSError:
            received = b""
        if not received:
            with suppress(KeyError):
                self._selector.unregister(worker.channel)
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(TICK_SECONDS)
            return False
        if worker.heartbeat_at is None:
            self._log(f"worker {worker.process.pid} serves")
            for other in self._workers:
                if other is not worker and other.end_by is None:
                    other.end()
        worker.heartbeat_at = time.monotonic()
        worker.overrun = _OVERRUN in received
        return True

    def _remove(self, worker: Worker) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(worker.channel)
        worker.channel.close()
        self._workers.remove(worker)


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, or 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0
