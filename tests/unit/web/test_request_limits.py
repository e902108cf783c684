"""Limits of the work: threads, queue, deadline; the cache of answers; the end of bulk answers."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Generator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.routing import APIRoute

from ohlcv.web import bulk, request_limits
from ohlcv.web.app import create_routes
from ohlcv.web.bulk import BulkResponse
from ohlcv.web.caching import Answer, ResponseCache
from ohlcv.web.problems import ProblemError
from ohlcv.web.request_limits import WorkPool
from ohlcv.web.service import Service


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Return an event for which stuck work waits."""
    event = threading.Event()
    yield event
    event.set()


def test_a_missed_deadline_is_answered(released: threading.Event) -> None:
    pool = WorkPool("test", threads=1, queue=1, deadline=0.01)

    async def run() -> None:
        with pytest.raises(ProblemError, match="takes longer than") as raised:
            await pool.run(released.wait)
        assert raised.value.status == 503
        # The thread is still occupied, and so is its place: one more request waits for it, the next one is refused.
        with pytest.raises(ProblemError, match="takes longer than"):
            await pool.run(int)
        released.set()

    asyncio.run(run())


def test_a_full_queue_is_answered_at_once(released: threading.Event) -> None:
    pool = WorkPool("test", threads=1, queue=1)

    async def run() -> None:
        waiting = [asyncio.ensure_future(pool.run(released.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ProblemError, match="too many requests at the same time") as raised:
            await pool.run(int)
        assert (raised.value.status, raised.value.headers) == (503, {"Retry-After": "1"})
        released.set()
        assert await asyncio.gather(*waiting) == [True, True]
        assert await pool.run(int, "7") == 7

    asyncio.run(run())


def test_an_error_of_the_work_is_raised() -> None:
    def work() -> None:
        raise TimeoutError("of a socket")

    async def run() -> None:
        with pytest.raises(TimeoutError, match="of a socket"):
            await WorkPool("test", threads=1, queue=1).run(work)

    asyncio.run(run())


def test_stuck_work_is_an_overrun(released: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(request_limits, "time", SimpleNamespace(monotonic=lambda: now))
    pool = WorkPool("test", threads=1, queue=1, deadline=1)
    started = threading.Event()

    def work() -> None:
        started.set()
        released.wait()

    async def run() -> None:
        nonlocal now
        task = asyncio.ensure_future(pool.run(work))
        await asyncio.to_thread(started.wait)
        now += 2.9
        assert not pool.overrun()
        now += 0.2
        assert pool.overrun()
        released.set()
        await task
        assert not pool.overrun()

    asyncio.run(run())


def test_concurrent_requests_share_one_computation() -> None:
    cache = ResponseCache(capacity=10)
    made = []

    async def get(etag: str) -> Answer:
        async def make() -> Answer:
            made.append(1)
            await asyncio.sleep(0)
            return Answer(b"12345", {"ETag": etag})

        return await cache.get(etag, make)

    async def run() -> None:
        answers = await asyncio.gather(*(get("a") for _ in range(20)))
        assert (len(made), {answer.body for answer in answers}) == (1, {b"12345"})
        await get("a")
        assert len(made) == 1
        await get("b")
        await get("a")
        # "b" was used before "a", and there is no room for three.
        await get("c")
        await get("a")
        assert len(made) == 3
        await get("b")
        assert len(made) == 4

    asyncio.run(run())


def test_an_answer_of_another_state_is_not_cached() -> None:
    cache = ResponseCache()
    found = iter(("new", "old"))

    async def make() -> Answer:
        # The table changed while the first request was answered, and was rolled back.
        etag = next(found)
        return Answer(etag.encode(), {"ETag": etag})

    async def run() -> None:
        assert [(await cache.get("old", make)).body for _ in range(3)] == [b"new", b"old", b"old"]

    asyncio.run(run())


def test_a_client_that_disconnects_does_not_end_the_work_for_others() -> None:
    cache = ResponseCache()

    async def run() -> None:
        go = asyncio.Event()

        async def make() -> Answer:
            await go.wait()
            return Answer(b"body", {})

        first, second = (asyncio.ensure_future(cache.get("a", make)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        go.set()
        assert (await second).body == b"body"

    asyncio.run(run())


def test_an_error_is_not_cached() -> None:
    cache = ResponseCache()

    async def fail() -> Answer:
        raise ValueError

    async def make() -> Answer:
        return Answer(b"body", {})

    async def run() -> None:
        with pytest.raises(ValueError):  # noqa: PT011
            await cache.get("a", fail)
        assert (await cache.get("a", make)).body == b"body"

    asyncio.run(run())


class Download:
    """A bulk answer whose client disconnects or stalls after some parts."""

    def __init__(self) -> None:
        self.made = 0
        self.sent: list[dict[str, Any]] = []
        self.closed = False

    def parts(self) -> Generator[bytes]:
        try:
            for _ in range(1000):
                self.made += 1
                yield b"part"
        finally:
            self.closed = True

    async def respond(self, send: Any, receive: Any) -> None:
        pool = WorkPool("test", threads=1, queue=1)
        response = BulkResponse(pool, lambda: ({"X-Test": "1"}, self.parts()), "text/csv")
        await response({"type": "http"}, receive, send)


def test_a_bulk_answer_stops_when_the_client_disconnects() -> None:
    download = Download()

    async def run() -> None:
        gone = asyncio.Event()

        async def send(message: Any) -> None:
            download.sent.append(message)
            if len(download.sent) == 4:
                gone.set()
                await asyncio.sleep(0)

        async def receive() -> Any:
            await gone.wait()
            return {"type": "http.disconnect"}

        await download.respond(send, receive)

    asyncio.run(run())
    assert download.made < 10
    assert download.closed
    assert download.sent[0]["status"] == 200
    assert (b"x-test", b"1") in download.sent[0]["headers"]


def test_a_bulk_answer_stops_when_the_client_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "STALL_SECONDS", 0.01)
    download = Download()

    async def send(message: Any) -> None:
        download.sent.append(message)
        if len(download.sent) == 3:
            await asyncio.Event().wait()

    async def run() -> None:
        with pytest.raises(TimeoutError):
            await download.respond(send, asyncio.Event().wait)

    asyncio.run(run())
    assert download.made == 2
    assert download.closed


def test_the_framework_executes_no_function_of_a_request_in_a_thread(service: Service) -> None:
    # Two changes of the thread took three times as long as the rest of an answer with 304.
    pending = [route.dependant for route in create_routes(service).routes if isinstance(route, APIRoute)]
    assert len(pending) > 10
    for dependant in pending:
        assert dependant.call is not None
        assert inspect.iscoroutinefunction(dependant.call), dependant.call
        pending += dependant.dependencies
