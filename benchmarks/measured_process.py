"""A warm process that executes requests over a Unix socket and measures how long each takes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from benchmarks.harness import Cost
from benchmarks.processes import tree_seconds
from ohlcv.model.errors import OhlcvError
from ohlcv.spark.processes import START_SECONDS, start, stop

ROOT = Path(__file__).parent.parent


def serve(service: object, address: str) -> None:
    """Call methods of an object by request until None is received. Errors are sent back as text."""
    with Listener(address, family="AF_UNIX") as listener, listener.accept() as connection:
        while (request := connection.recv()) is not None:
            name, arguments = request
            method: Callable[..., Any] = getattr(service, name)
            begin = time.perf_counter()
            try:
                result = method(**arguments)
            except Exception as error:
                connection.send((None, 0.0, f"{type(error).__name__}: {error}"))
            else:
                connection.send((result, time.perf_counter() - begin, None))


class MeasuredProcess:
    """Connection to a running process. CPU time includes the process trees in `roots`."""

    def __init__(self, name: str, connection: Connection, roots: Sequence[int]) -> None:
        self.name = name
        self._connection = connection
        self._roots = roots

    def call(self, method: str, **arguments: Any) -> tuple[Any, Cost]:
        """Return the result of a method and its cost. Wall time excludes the transfer of the result."""
        before = self._cpu_seconds()
        self._connection.send((method, arguments))
        result, wall, error = self._connection.recv()
        if error is not None:
            raise OhlcvError(f"{self.name} failed in {method}: {error}")
        return result, Cost(wall, self._cpu_seconds() - before)

    def _cpu_seconds(self) -> float:
        return sum(tree_seconds(pid) for pid in self._roots)


@contextmanager
def measured_process(
    name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path, roots: Sequence[int] = ()
) -> Iterator[MeasuredProcess]:
    """Start a process that calls `serve` with its last argument. `roots` are other processes that work for it."""
    address = folder / f"{name}.socket"
    process = start([*command, str(address)], {**environment, "PYTHONPATH": str(ROOT)}, folder / f"{name}.log")
    try:
        with _connect(name, process, address, folder) as connection:
            yield MeasuredProcess(name, connection, [process.pid, *roots])
            connection.send(None)
            process.wait(START_SECONDS)
    finally:
        stop(process)


def _connect(name: str, process: subprocess.Popen[bytes], address: Path, folder: Path) -> Connection:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            return Client(str(address), family="AF_UNIX")
        except OSError:
            time.sleep(0.1)
    raise OhlcvError(f"{name} did not start: see {folder / f'{name}.log'}")
