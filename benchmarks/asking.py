"""Ask a process that stays warm: it answers over a socket of this machine, and says how long the answer took."""

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


def serve(answers: object, address: str) -> None:
    """Answer by an object's methods until asked to stop; an error is an answer too."""
    with Listener(address, family="AF_UNIX") as listener, listener.accept() as caller:
        while (question := caller.recv()) is not None:
            name, arguments = question
            method: Callable[..., Any] = getattr(answers, name)
            begin = time.perf_counter()
            try:
                answer = method(**arguments)
            except Exception as error:
                caller.send((None, 0.0, f"{type(error).__name__}: {error}"))
            else:
                caller.send((answer, time.perf_counter() - begin, None))


class Asked:
    """A process that answers, and those that work for it."""

    def __init__(self, name: str, caller: Connection, trees: Sequence[int]) -> None:
        self.name = name
        self._caller = caller
        self._trees = trees

    def ask(self, question: str, **arguments: Any) -> tuple[Any, Cost]:
        """Give the answer and what it took: wall seconds as the process saw them, without the way back."""
        before = self._processor()
        self._caller.send((question, arguments))
        answer, wall, error = self._caller.recv()
        if error is not None:
            raise OhlcvError(f"{self.name} could not answer {question}: {error}")
        return answer, Cost(wall, self._processor() - before)

    def _processor(self) -> float:
        return sum(tree_seconds(pid) for pid in self._trees)


@contextmanager
def asked(
    name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path, trees: Sequence[int] = ()
) -> Iterator[Asked]:
    """Start a process that serves at the address its command ends with; `trees` are others that work for it."""
    address = folder / f"{name}.socket"
    process = start([*command, str(address)], {**environment, "PYTHONPATH": str(ROOT)}, folder / f"{name}.log")
    try:
        with _connected(name, process, address, folder) as caller:
            yield Asked(name, caller, [process.pid, *trees])
            caller.send(None)
            process.wait(START_SECONDS)
    finally:
        stop(process)


def _connected(name: str, process: subprocess.Popen[bytes], address: Path, folder: Path) -> Connection:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            return Client(str(address), family="AF_UNIX")
        except OSError:
            time.sleep(0.1)
    raise OhlcvError(f"{name} did not start: see {folder / f'{name}.log'}")
