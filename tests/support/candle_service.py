"""The application of the candle service with a client in the test's process."""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient

from ohlcv.config.settings import load_settings
from ohlcv.web.access import TIMEFRAMES_HEADER
from ohlcv.web.app import create_app
from ohlcv.web.service import Service
from support.memory_candles import MemoryCandles

TOKEN = "token-of-a-client-" + "x" * 20
GATEWAY_TOKEN = "token-of-the-gateway-" + "y" * 20
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def service_of(candles: MemoryCandles, folder: Path, **settings: str) -> Service:
    """Return the service of a client with TOKEN, and of the gateway."""
    tokens = folder / "tokens"
    if not tokens.exists():
        tokens.write_text(f"client {TOKEN}\n")
    values = {
        "OHLCV_HOME": str(folder / "home"),
        "OHLCV_API_TOKENS": str(tokens),
        "OHLCV_API_GATEWAY_TOKEN": GATEWAY_TOKEN,
        "OHLCV_API_RATE": "100000",
        **settings,
    }
    return Service(load_settings(values), candles.as_data())


def client_of(service: Service, **headers: str) -> TestClient:
    """Return a client that sends a token, or other headers."""
    return TestClient(create_app(service), headers=headers or BEARER)


def gateway_headers(*timeframes: str) -> dict[str, str]:
    """Return the headers of the gateway, for a user who may read some timeframes."""
    return {"Authorization": f"Bearer {GATEWAY_TOKEN}", TIMEFRAMES_HEADER: ",".join(timeframes)}
