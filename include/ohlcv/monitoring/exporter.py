"""Prometheus exporter of the health checks: `python -m ohlcv.monitoring.exporter` listens on port 9100."""

from __future__ import annotations

import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.object_store import describe_store_error, is_store_error
from ohlcv.model.errors import OhlcvError
from ohlcv.monitoring.health import health
from ohlcv.monitoring.measurements import Measurement

PORT = 9100
# The checks take one to two seconds, so more frequent requests are answered from the cache.
CACHE_SECONDS = 45.0


def format_metrics(measurements: list[Measurement]) -> str:
    """Return measurements in Prometheus' text format. Dashboards query the names and labels: they must not change."""
    lines = [
        "# HELP ohlcv_health_alert 1 if the measurement is in alert, as in 'ohlcv health', else 0.",
        "# TYPE ohlcv_health_alert gauge",
        *(f"ohlcv_health_alert{_labels(each)} {int(each.state == 'alert')}" for each in measurements),
        "# HELP ohlcv_health_value Measured value in the unit of its aspect: seconds, share, number or bytes.",
        "# TYPE ohlcv_health_value gauge",
        *(f"ohlcv_health_value{_labels(each)} {each.value}" for each in measurements if each.value is not None),
        "# HELP ohlcv_health_oldest_seconds Time since the oldest counted case began, as of held series; 0 if none.",
        "# TYPE ohlcv_health_oldest_seconds gauge",
        *(
            f"ohlcv_health_oldest_seconds{_labels(each)} {each.oldest_seconds}"
            for each in measurements
            if each.oldest_seconds is not None
        ),
    ]
    return "\n".join(lines) + "\n"


def _labels(measurement: Measurement) -> str:
    # The name of an exchange can contain any character.
    subject = measurement.subject.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'{{subject="{subject}",aspect="{measurement.aspect}"}}'


class MetricsCache:
    """The metrics of the last measurement, renewed when they are older than `CACHE_SECONDS`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._measured_at = 0.0
        self._text = ""

    def read(self) -> str:
        """Return the metrics, and measure first if the cache is empty or expired."""
        with self._lock:
            if not self._measured_at or time.monotonic() - self._measured_at > CACHE_SECONDS:
                self._text = format_metrics(health(self._settings, datetime.now(UTC)))
                self._measured_at = time.monotonic()
            return self._text


def make_server(settings: Settings, host: str = "", port: int = PORT) -> ThreadingHTTPServer:
    """Build the HTTP server. /metrics returns the metrics; any other path returns 'alive' without measuring."""
    cache = MetricsCache(settings)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                status, text = 200, cache.read() if self.path == "/metrics" else "alive\n"
            except OhlcvError as error:
                status, text = 503, f"{error}\n"
            except OSError as error:
                if not is_store_error(error):
                    raise
                status, text = 503, f"{describe_store_error(settings, error)}\n"
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            """Log no requests."""

    return ThreadingHTTPServer((host, port), Handler)


def main() -> None:
    """Serve until the process is ended. Invalid settings end it with one line."""
    try:
        server = make_server(load_settings())
    except OhlcvError as error:
        sys.exit(f"error: {error}")
    server.serve_forever()


if __name__ == "__main__":
    main()
