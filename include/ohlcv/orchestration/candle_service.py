"""Connection of the gateway to the candle service: at OHLCV_API_URL, or a process that is started on demand."""

from __future__ import annotations

import asyncio
import atexit
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import httpx

from ohlcv.config.settings import Settings
from ohlcv.orchestration.problems import ProblemError

# The gateway limits the number of connections.
LIMITS = httpx.Limits(max_keepalive_connections=8, keepalive_expiry=30)
# The service answers within its own deadline of 10 s, or fails.
TIMEOUT = httpx.Timeout(connect=3, read=20, write=5, pool=None)
START_SECONDS, POLL_SECONDS, END_SECONDS = 60.0, 0.05, 5.0
# A process that ends sooner after its start is started again with a growing delay.
STABLE_SECONDS, MAX_DELAY_SECONDS = 60.0, 60.0


class CandleService(Protocol):
    """A candle service that the gateway can use."""

    client: httpx.AsyncClient
    token: str
    # What to do if it does not answer.
    advice: str

    async def await_ready(self) -> None:
        """Wait until requests can be sent. Raise ProblemError if they cannot."""


class RunningService:
    """A candle service that runs without this process."""

    def __init__(self, url: str, token: str) -> None:
        # The proxies of the environment are for addresses outside the network of the services.
        self.client = httpx.AsyncClient(base_url=url, limits=LIMITS, timeout=TIMEOUT, trust_env=False)
        self.token = token
        self.advice = f"check that the candle service at {url} runs"

    async def await_ready(self) -> None:
        """Return at once: the request itself shows whether the service runs."""


class StartedService:
    """A candle service on a Unix socket: a process that is started for the first request, and again if it has ended.

    The process ends with this one, because then its standard input ends.
    """

    advice = "see the log of the API server"

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Prepare the start of a command, whose last argument will be the path of the socket."""
        # The path of a socket has at most 107 bytes, so it cannot be below OHLCV_HOME.
        self._folder = tempfile.TemporaryDirectory(prefix="ohlcv-candles-")
        self._socket = Path(self._folder.name) / "candles.sock"
        self.token = secrets.token_urlsafe(32)
        self._command = [*command, str(self._socket)]
        self._environment = {**environment, "OHLCV_API_GATEWAY_TOKEN": self.token}
        transport = httpx.AsyncHTTPTransport(uds=str(self._socket), limits=LIMITS)
        self.client = httpx.AsyncClient(base_url="http://candles", transport=transport, timeout=TIMEOUT)
        self._process: subprocess.Popen[bytes] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._started_at = self._next_start = 0.0
        self._failures = 0
        atexit.register(self.close)

    def close(self) -> None:
        """End the process."""
        atexit.unregister(self.close)
        if self._process:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.communicate(timeout=END_SECONDS)
            self._process.kill()
            self._process.communicate()
        self._folder.cleanup()

    async def await_ready(self) -> None:
        """Start the process unless it runs. Concurrent requests wait for the same start."""
        starting = self._starting
        if starting is None or (starting.done() and (starting.exception() or self._ended())):
            starting = self._starting = asyncio.create_task(self._start())
        # A request that is cancelled does not cancel the start for the others.
        await asyncio.shield(starting)

    async def _start(self) -> None:
        self._count_failure()
        if (delay := self._next_start - time.monotonic()) > 0:
            raise ProblemError(503, f"the candle service has ended {self._failures} times: {self.advice}", delay)
        if self._process is None:
            self._started_at = time.monotonic()
            self._process = await asyncio.to_thread(self._open_process)
        while not await self._is_healthy():
            if self._ended():
                code = self._process.returncode
                raise ProblemError(503, f"the candle service ended with exit code {code}: {self.advice}", 1)
            if time.monotonic() > self._started_at + START_SECONDS:
                self._process.kill()
                raise ProblemError(503, f"the candle service was not ready in {START_SECONDS:.0f} s: {self.advice}", 5)
            await asyncio.sleep(POLL_SECONDS)

    def _open_process(self) -> subprocess.Popen[bytes]:
        self._socket.unlink(missing_ok=True)
        # Its output goes to the log of the API server. Nothing is written to the pipe.
        return subprocess.Popen(self._command, env=self._environment, stdin=subprocess.PIPE)

    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _count_failure(self) -> None:
        """Delay the next start if the process has ended repeatedly and soon."""
        if self._process is None or self._process.poll() is None:
            return
        assert self._process.stdin
        self._process.stdin.close()
        self._process = None
        now = time.monotonic()
        self._failures = 1 if now > self._started_at + STABLE_SECONDS else self._failures + 1
        if self._failures > 1:
            self._next_start = now + min(MAX_DELAY_SECONDS, 2.0**self._failures)

    async def _is_healthy(self) -> bool:
        try:
            return (await self.client.get("/health")).status_code == httpx.codes.OK
        except httpx.TransportError:  # it does not listen yet
            return False


def candle_service(settings: Settings) -> CandleService:
    """Return the service of the settings."""
    if settings.api.url:
        assert settings.api.gateway_token, "the settings require both"
        return RunningService(settings.api.url, settings.api.gateway_token)
    program = str(Path(sys.executable).with_name("ohlcv"))
    return StartedService([program, "serve", "--exit-with-parent", "--socket"], service_environment(os.environ))


def service_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the service: without Airflow's secrets, and without settings of another service."""
    others = ("OHLCV_API_URL", "OHLCV_API_TOKENS", "OHLCV_API_GATEWAY_TOKEN_FILE")
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(("AIRFLOW_", "_AIRFLOW_")) and name not in others
    }
