"""`ohlcv serve`: refusals in one line, and a real service whose worker is replaced and which ends with its parent."""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path

import httpx
import pytest

from support.candle_service import BEARER
from support.command_line import WarmCommandLine
from support.serving import Serving

GATEWAY = {"OHLCV_API_GATEWAY_TOKEN": "g" * 40}


@pytest.fixture
def warm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> WarmCommandLine:
    return WarmCommandLine(tmp_path, monkeypatch, capsys)


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder whose path is short enough for a Unix socket."""
    return tmp_path_factory.mktemp("s")


def test_a_service_without_tokens_is_refused(warm: WarmCommandLine, short: Path) -> None:
    for options in ((), ("--socket", str(short / "s"))):
        assert warm.fail(2, "serve", *options) == (
            "no client has a token: set OHLCV_API_TOKENS to a file, and add a token with 'ohlcv serve --new-token NAME'"
        )
    assert warm.fail(2, "serve", OHLCV_API_GATEWAY_TOKEN="short") == (
        "OHLCV_API_GATEWAY_TOKEN has fewer than 32 characters: give a longer secret"
    )


def test_an_invalid_tokens_file_is_refused(warm: WarmCommandLine) -> None:
    file = warm.folder / "tokens"
    missing = warm.fail(2, "serve", OHLCV_API_TOKENS=str(file))
    assert missing.startswith(f"OHLCV_API_TOKENS: {file} cannot be read (No such file or directory)")
    file.write_text("client secret-token\n")
    message = warm.fail(2, "serve", OHLCV_API_TOKENS=str(file))
    assert message.startswith(f"OHLCV_API_TOKENS: {file}: line 1 has a token with fewer than 32 characters")
    assert "secret-token" not in message


def test_a_new_token_is_printed_once(warm: WarmCommandLine) -> None:
    file = warm.folder / "tokens"
    result = warm.run("serve", "--new-token", "me", OHLCV_API_TOKENS=str(file))
    assert result.returncode == 0
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}\n", result.stdout)
    assert result.stderr == f"note: token of me, added to {file}; it is shown only now\n"
    assert file.read_text() == f"me {result.stdout}"
    assert "has a token of me" in warm.fail(2, "serve", "--new-token", "me", OHLCV_API_TOKENS=str(file))
    assert warm.fail(2, "serve", "--new-token", "me") == "set OHLCV_API_TOKENS to the file that gets the token"


def test_an_address_that_cannot_be_used_is_refused(warm: WarmCommandLine, short: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert warm.fail(1, "serve", "--port", str(port), **GATEWAY) == (
            f"cannot listen on 127.0.0.1, port {port} (Address already in use): choose another --port"
        )
    assert warm.fail(2, "serve", "--host", "no such host", **GATEWAY).startswith(
        "--host no such host is not an address"
    )
    assert "is another file" in warm.fail(1, "serve", "--socket", str(_file(short / "file")), **GATEWAY)
    assert "AF_UNIX path too long" in warm.fail(1, "serve", "--socket", str(short / ("x" * 200)), **GATEWAY)
    with socket.socket(socket.AF_UNIX) as used:
        used.bind(str(short / "used"))
        used.listen()
        assert "listens on" in warm.fail(1, "serve", "--socket", str(short / "used"), **GATEWAY)
    short.chmod(0o750)
    assert warm.fail(2, "serve", "--socket", str(short / "s"), **GATEWAY) == (
        f"other users can enter the folder of --socket: run 'chmod 700 {short}'"
    )


def _file(path: Path) -> Path:
    path.write_text("")
    return path


def test_a_service_replaces_its_worker_and_ends_with_its_parent(short: Path) -> None:
    path = short / "folder" / "s"
    with Serving(short, "--socket", str(path), "--exit-with-parent") as serving:
        assert serving.address == str(path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        with _client(path) as client:
            health = client.get("/health")
            assert (health.text, "server" in health.headers) == ("ok", False)
        worker = serving.worker()
        os.kill(worker, signal.SIGKILL)
        with _client(path) as client:
            # A body would be read as the answer to the next request of the connection.
            assert client.head("/docs").status_code == 200
            # No table: the catalog is new.
            missing = client.get("/api/v1/candles?timeframe=1h")
            assert (missing.status_code, missing.headers["Content-Type"]) == (503, "application/problem+json")
        assert serving.worker() != worker
        _check_broken_requests(path)
        worker = serving.worker()
        assert serving.process.stdin is not None
        serving.process.stdin.close()
        assert serving.end() == 0
    assert not Path(f"/proc/{worker}").exists()
    assert not path.exists()
    assert f"worker {worker} serves" in serving.log
    assert "Traceback" not in serving.log
    assert "GET /" not in serving.log


def _client(path: Path) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(path))
    return httpx.Client(transport=transport, base_url="http://candles", headers=BEARER, timeout=60)


def _check_broken_requests(path: Path) -> None:
    for request in (b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(path))
            try:
                connection.sendall(request)
                answer = connection.recv(65_536)
            except ConnectionError:  # it was refused before all of it had been sent
                continue
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"application/problem+json" in answer
