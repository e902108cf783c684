"""The Candles page in Airflow's web interface: its entries, and the mount point of its gateway.

Every component of Airflow and every task loads this module through the plugin, so it imports no server.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.configuration import conf

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

log = logging.getLogger(__name__)

PREFIX = "/ohlcv"
# Label in the navigation and on DAGs, and the name of the browser's global variable that contains the page.
NAME = "Candles"
# Output of the page's build. The name of the bundle contains a hash of its content.
STATIC = Path(__file__).parents[1] / "web" / "static"
BUNDLES = "candles-*.js"


def react_apps(static: Path = STATIC) -> list[dict[str, Any]]:
    """Return the page's entries in the navigation and on DAGs. Without a built page there are none."""
    bundle = max(static.glob(BUNDLES), default=None)
    if bundle is None:
        if "api-server" in sys.argv:
            log.warning("ohlcv: the Candles page is not built: run 'make setup' to show it in the web interface")
        return []
    base_path = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
    app = {"name": NAME, "bundle_url": f"{base_path}{PREFIX}/page/{bundle.name}"}
    return [
        {**app, "destination": "nav", "url_route": "candles", "nav_top_level": True},
        # Airflow shows it on every DAG.
        {**app, "destination": "dag", "url_route": "dag-candles"},
    ]


class CandleGateway:
    """ASGI application that loads the gateway on its first request. Only the API server has requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gateway: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._gateway is None:
            self._gateway = await asyncio.to_thread(self._load)
        await self._gateway(scope, receive, send)

    def _load(self) -> ASGIApp:
        with self._lock:
            if self._gateway is None:
                from ohlcv.orchestration.candle_gateway import create_gateway

                self._gateway = create_gateway()
            return self._gateway
