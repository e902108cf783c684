"""The process that the gateway starts, with another program in place of the candle service."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from ohlcv.orchestration.candle_service import StartedService, service_environment
from ohlcv.orchestration.problems import ProblemError
from support import candle_service_stub as stub
from support.processes import wait_for

PROGRAM = [sys.executable, stub.__file__]


@contextmanager
def started(*command: str) -> Iterator[StartedService]:
    service = StartedService(command, os.environ)
    try:
        yield service
    finally:
        service.close()


async def process_of(service: StartedService) -> int:
    """Return the id of the process that answers a request."""
    await service.await_ready()
    async with service.client.stream("GET", "/x", headers={"Connection": "close"}) as response:
        await response.aread()
        return int(response.json()["process"])


def test_the_service_is_started_once_and_again_after_its_end() -> None:
    async def run(service: StartedService) -> list[int]:
        first = set(await asyncio.gather(*(process_of(service) for _ in range(5))))
        assert len(first) == 1
        os.kill(before := first.pop(), signal.SIGKILL)
        after = before
        while after == before:
            # Until all threads of the process have ended, a request may reach it and fail.
            with suppress(httpx.TransportError):
                after = await process_of(service)
        await service.client.aclose()
        return [before, after]

    with started(*PROGRAM) as service:
        before, after = asyncio.run(run(service))
    assert before != after


def test_a_request_that_is_cancelled_does_not_cancel_the_start() -> None:
    async def run(service: StartedService) -> None:
        cancelled = asyncio.create_task(service.await_ready())
        other = asyncio.create_task(service.await_ready())
        await asyncio.sleep(0)
        cancelled.cancel()
        await other
        await service.client.aclose()

    with started(*PROGRAM) as service:
        asyncio.run(run(service))


def test_a_service_that_cannot_start_is_tried_with_a_growing_delay() -> None:
    async def run(service: StartedService) -> list[ProblemError]:
        found = []
        for _ in range(3):
            with pytest.raises(ProblemError) as error:
                await service.await_ready()
            found.append(error.value)
        return found

    with started(sys.executable, "-c", "raise SystemExit(3)") as service:
        problems = asyncio.run(run(service))
    assert [problem.status for problem in problems] == [503] * 3
    assert "exit code 3" in problems[0].detail
    assert "ended 2 times" in problems[2].detail
    assert 1 <= int(problems[2].headers["Retry-After"]) <= 4


def test_the_service_ends_with_the_process_that_started_it() -> None:
    program = f"""
import asyncio, os
from ohlcv.orchestration.candle_service import StartedService
async def main():
    service = StartedService({PROGRAM!r}, os.environ)
    await service.await_ready()
    print((await service.client.get("/x")).json()["process"], flush=True)
    os._exit(0)
asyncio.run(main())
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    wait_for(lambda: not Path(f"/proc/{int(result.stdout)}").exists(), "the service has ended")


def test_the_service_gets_no_secret_of_airflow() -> None:
    environment = service_environment(
        {
            "PATH": "/bin",
            "OHLCV_HOME": "/data",
            "OHLCV_API_URL": "http://other",
            "OHLCV_API_GATEWAY_TOKEN_FILE": "/run/secrets/token",
            "AIRFLOW__API_AUTH__JWT_SECRET": "secret",
            "AIRFLOW_CONN_SPARK": "{}",
        }
    )
    assert environment == {"PATH": "/bin", "OHLCV_HOME": "/data"}
