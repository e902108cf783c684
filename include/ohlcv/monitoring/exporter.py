"""Health as Prometheus reads it: `python -m ohlcv.monitoring.exporter` answers on port 9100 until it is ended."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.errors import OhlcvError
from ohlcv.monitoring.health import Measure, health

PORT = 9100
# Looking costs a second or two; whoever asks more often gets what was seen last.
FRESH_SECONDS = 45.0


def as_text(measures: list[Measure]) -> str:
    """Write measures in Prometheus' text format."""
    lines = [
        "# HELP ohlcv_health_alert Whether a limit is crossed, as in 'ohlcv health'.",
        "# TYPE ohlcv_health_alert gauge",
        *(f"ohlcv_health_alert{_labels(each)} {int(each.state == 'alert')}" for each in measures),
        "# HELP ohlcv_health_value What was found: seconds, a share, workers, bytes, by aspect.",
        "# TYPE ohlcv_health_value gauge",
        *(f"ohlcv_health_value{_labels(each)} {each.value}" for each in measures if each.value is not None),
    ]
    return "\n".join(lines) + "\n"


def _labels(measure: Measure) -> str:
    return f'{{subject="{measure.subject}",aspect="{measure.aspect}"}}'


class Gauge:
    """What was seen last, and when."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._seen = 0.0
        self._text = ""

    def read(self) -> str:
        """Look again where the last look is old."""
        with self._lock:
            if not self._seen or time.monotonic() - self._seen > FRESH_SECONDS:
                self._text = as_text(health(self._settings, datetime.now(UTC)))
                self._seen = time.monotonic()
            return self._text


def server(settings: Settings, host: str = "", port: int = PORT) -> ThreadingHTTPServer:
    """Make the server: /metrics, and / for whoever only asks whether it lives."""
    gauge = Gauge(settings)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                status, text = 200, gauge.read() if self.path == "/metrics" else "alive\n"
            except OhlcvError as error:
                status, text = 503, f"{error}\n"
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing of every call."""

    return ThreadingHTTPServer((host, port), Handler)


if __name__ == "__main__":
    server(load_settings()).serve_forever()
