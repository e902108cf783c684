"""A running candle service: `ohlcv serve` on a free TCP port, with one token."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from ohlcv.config.settings import Settings
from ohlcv.spark.processes import start, stop, wait_for_line

OHLCV = str(Path(sys.executable).with_name("ohlcv"))


@dataclass(frozen=True)
class CandleServer:
    """A running candle service, and a client's token."""

    url: str
    token: str
    process: subprocess.Popen[bytes]

    def get(self, path: str, parameters: Mapping[str, object] | None = None) -> httpx.Response:
        """Send a request with the token."""
        return httpx.get(
            self.url + path,
            params={name: str(value) for name, value in (parameters or {}).items()},
            headers={"Authorization": f"Bearer {self.token}"},
            trust_env=False,
            timeout=60,
        )


@contextmanager
def candle_server(settings: Settings) -> Iterator[CandleServer]:
    """Start the service of a home, and stop it when the block ends."""
    environment = os.environ | {
        "OHLCV_HOME": str(settings.home),
        "OHLCV_API_TOKENS": str(settings.home / "tokens"),
        "OHLCV_API_RATE": "1000",
    }
    command = [OHLCV, "serve", "--new-token", "test"]
    token = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    log = settings.home / "candle-service.log"
    process = start([OHLCV, "serve", "--port", "0"], environment, log)
    try:
        yield CandleServer(wait_for_line(process, log, r"candle service: (http\S+)"), token, process)
    finally:
        stop(process)
