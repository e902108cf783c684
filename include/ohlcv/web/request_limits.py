"""Limits of the work for requests: bounded thread pools, and a deadline per request."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from ohlcv.web.problems import unavailable

P = ParamSpec("P")
T = TypeVar("T")

DEADLINE_SECONDS = 10.0
# Work that exceeds its deadline by this factor is stuck: the supervisor replaces the worker.
OVERRUN_FACTOR = 3


class WorkPool:
    """Threads for blocking work. A full queue and a missed deadline are answered with 503."""

    def __init__(self, name: str, threads: int, queue: int, deadline: float = DEADLINE_SECONDS) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threading.Semaphore(threads + queue)
        self._deadline = deadline
        # Begin of each piece of work that a thread executes now.
        self._begun: dict[int, float] = {}

    async def run(self, work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Run blocking work in a thread and return its result."""
        if not self._free.acquire(blocking=False):
            raise unavailable("too many requests at the same time: try again", 1)

        def timed_work() -> T:
            self._begun[threading.get_ident()] = time.monotonic()
            try:
                return work(*arguments, **options)
            finally:
                del self._begun[threading.get_ident()]

        submitted = self._executor.submit(timed_work)
        # When the thread has finished, not when the request has missed its deadline: until then the thread is occupied.
        submitted.add_done_callback(self._release)
        try:
            async with asyncio.timeout(self._deadline):
                return await asyncio.wrap_future(submitted)
        except TimeoutError:
            if submitted.done() and not submitted.cancelled():
                raise  # of the work itself
            raise unavailable(
                f"the answer takes longer than {self._deadline:.0f} s: request a smaller range, or try again"
            ) from None

    def overrun(self) -> bool:
        """Return whether some work has exceeded its deadline three times."""
        begun = min(list(self._begun.values()), default=None)
        return begun is not None and time.monotonic() - begun > OVERRUN_FACTOR * self._deadline

    def close(self) -> None:
        """Start no further work."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _release(self, _: Future[T]) -> None:
        self._free.release()
