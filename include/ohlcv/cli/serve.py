"""`ohlcv serve`: the candle service."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click

from ohlcv.cli.terminal import echo, note
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.errors import InputError, OhlcvError

BACKLOG = 1_024
MIN_TOKEN_LENGTH = 32


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8090, show_default=True, help="TCP port; 0 for any free one."
)
@click.option(
    "--socket",
    "socket_path",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Listen on this Unix socket instead of TCP.",
)
@click.option("--exit-with-parent", is_flag=True, help="End at the end of stdin.")
@click.option("--access-log", is_flag=True, help="Log every request.")
@click.option("--new-token", "token_name", metavar="NAME", help="Add a token to OHLCV_API_TOKENS, print it, and exit.")
def serve(
    *,
    host: str,
    port: int,
    socket_path: Path | None,
    exit_with_parent: bool,
    access_log: bool,
    token_name: str | None,
) -> int:
    """Serve candles by HTTP, read-only (docs/api.md).

    Clients need a token of the file OHLCV_API_TOKENS. The service restarts its worker process if that is stuck or uses
    more than 512 MB. Ctrl-C or SIGTERM ends it.
    """
    settings = load_settings()
    if token_name is not None:
        _add_token(settings, token_name)
        return 0
    _check_access(settings)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    listener = _unix_listener(socket_path) if socket_path else _tcp_listener(host, port)
    try:
        _supervise(listener, exit_with_parent, access_log)
    except KeyboardInterrupt:
        _log("stopped")
    finally:
        listener.close()
        if socket_path:
            with suppress(OSError):
                socket_path.unlink()
    return 0


def _supervise(listener: socket.socket, exit_with_parent: bool, access_log: bool) -> None:
    from ohlcv.web.supervisor import Supervisor

    def print_address() -> None:
        echo(f"candle service: {_address(listener)}")
        sys.stdout.flush()

    supervisor = Supervisor(
        listener,
        _log,
        options=("--access-log",) if access_log else (),
        until_end_of=sys.stdin.fileno() if exit_with_parent else None,
    )
    supervisor.run(print_address)


def _log(text: str) -> None:
    echo(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}", err=True)


def _address(listener: socket.socket) -> str:
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return str(name)
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"


def _add_token(settings: Settings, name: str) -> None:
    from ohlcv.web.tokens import add_token

    if settings.api.tokens_file is None:
        raise InputError("set OHLCV_API_TOKENS to the file that gets the token")
    token = add_token(settings.api.tokens_file, name)
    note(f"token of {name}, added to {settings.api.tokens_file}; it is shown only now")
    echo(token)


def _check_access(settings: Settings) -> None:
    from ohlcv.web.tokens import check_tokens

    if settings.api.tokens_file is None and settings.api.gateway_token is None:
        raise InputError(
            "no client has a token: set OHLCV_API_TOKENS to a file, and add a token with 'ohlcv serve --new-token NAME'"
        )
    if settings.api.gateway_token is not None and len(settings.api.gateway_token) < MIN_TOKEN_LENGTH:
        raise InputError(f"OHLCV_API_GATEWAY_TOKEN has fewer than {MIN_TOKEN_LENGTH} characters: give a longer secret")
    if settings.api.tokens_file is not None:
        for warning in check_tokens(settings.api.tokens_file):
            note(warning)


def _tcp_listener(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise InputError(f"--host {host} is not an address of this machine: use 127.0.0.1 or 0.0.0.0") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OhlcvError(f"cannot listen on {host}, port {port} ({error.strerror}): choose another --port") from None
    return listener


def _unix_listener(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.parent.stat().st_mode & 0o077:
            raise InputError(f"other users can enter the folder of --socket: run 'chmod 700 {path.parent}'")
        _remove_unused_socket(path)
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OhlcvError(f"cannot listen on {path} ({error.strerror or error}): choose another --socket") from None
    except OhlcvError:
        listener.close()
        raise
    return listener


def _remove_unused_socket(path: Path) -> None:
    """Remove the socket of a service that was killed. Raise OhlcvError if the path is in use."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OhlcvError(f"--socket {path} is another file: choose another path")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OhlcvError(f"a service listens on {path} already: stop it, or choose another --socket")
