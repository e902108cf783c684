"""Handler of an S3 server that relays requests to another one, and can refuse them."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler

from support.catalog_servers.forwarding import forward

# Headers that belong to one connection.
OWN_HEADERS = ("transfer-encoding", "connection", "expect", "server", "date")


class RelayHandler(BaseHTTPRequestHandler):
    """Handler whose subclasses implement `relay`, which answers each request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def relay(self) -> None:
        raise NotImplementedError

    def read_body(self) -> bytes:
        """Return the body of the request."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # a trailer
        return body

    def forward(self, address: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send the request to a server, and return status, headers and content of its answer."""
        status, received, content = forward(address, self.command, self.path, body, _relayed(dict(self.headers)))
        # The answer to HEAD has the length of the object.
        length = {} if self.command == "HEAD" else {"Content-Length": str(len(content))}
        return status, {**_relayed(dict(received)), **length}, content

    def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        """Send an answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def answer_error(self, status: int, code: str, message: str) -> None:
        """Send an error of S3."""
        content = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        self.answer(status, {"Content-Type": "application/xml", "Content-Length": str(len(content))}, content)

    def do_GET(self) -> None:
        self.relay()

    do_POST = do_HEAD = do_DELETE = do_PUT = do_GET  # noqa: N815 - names of the library

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def _relayed(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in OWN_HEADERS}
