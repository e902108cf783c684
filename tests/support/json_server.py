"""HTTP server with fixed JSON responses, in place of Airflow's REST API or the Spark master's web page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ohlcv.spark.processes import HOST
from support.server_thread import running


@contextmanager
def json_server(responses: Mapping[str, object]) -> Iterator[str]:
    """Run a server that answers these paths (GET and POST) and rejects all others with 401. Yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            response = responses.get(self.path.partition("?")[0])
            self.send_response(401 if response is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(response if response is not None else {"error": "no"}).encode())

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with running(ThreadingHTTPServer((HOST, 0), Handler)) as address:
        yield address
