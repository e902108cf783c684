"""Tokens file of the candle service: one "NAME TOKEN" per line."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from ohlcv.model.errors import InputError, OhlcvError

LOG = logging.getLogger(__name__)
MIN_TOKEN_LENGTH = 32
MAX_FILE_BYTES = 1024 * 1024
# A changed file is noticed within this time.
CHECK_SECONDS = 1.0
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_TOKEN = re.compile(r"[!-~]{1,512}")


@dataclass(frozen=True)
class Token:
    """Name and SHA-256 digest of a token."""

    name: str
    digest: bytes


def digest(token: str) -> bytes:
    """Return the digest under which a token is compared."""
    return hashlib.sha256(token.encode()).digest()


def parse_tokens(text: str) -> tuple[list[Token], list[str]]:
    """Return the tokens of a file, and one error for each invalid line. Errors do not contain the token."""
    found: dict[bytes, Token] = {}
    errors = []
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        if len(parts) != 2 or not _NAME.fullmatch(parts[0]) or not _TOKEN.fullmatch(parts[1]):
            errors.append(f"line {number} is not 'NAME TOKEN': write a name of letters, digits, _ . - and a token")
        elif len(parts[1]) < MIN_TOKEN_LENGTH:
            errors.append(
                f"line {number} has a token with fewer than {MIN_TOKEN_LENGTH} characters: "
                f"make one with 'ohlcv serve --new-token NAME'"
            )
        elif digest(parts[1]) in found:
            errors.append(f"line {number} repeats a token of an earlier line: give each client its own token")
        else:
            found[digest(parts[1])] = Token(parts[0], digest(parts[1]))
    return [*found.values()], errors


def read_tokens(path: Path) -> tuple[list[Token], list[str]]:
    """Return the tokens of a file and the errors of its lines. Raise InputError if it cannot be read."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(f"OHLCV_API_TOKENS: {path} is not a regular file: give a text file")
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"OHLCV_API_TOKENS: {path} cannot be read ({error.strerror}): create it with 'ohlcv serve --new-token NAME'"
        ) from None
    if len(content) > MAX_FILE_BYTES:
        raise InputError(f"OHLCV_API_TOKENS: {path} is larger than {MAX_FILE_BYTES} bytes: remove tokens")
    try:
        return parse_tokens(content.decode())
    except UnicodeDecodeError:
        raise InputError(f"OHLCV_API_TOKENS: {path} is not UTF-8 text: write one 'NAME TOKEN' per line") from None


def check_tokens(path: Path) -> list[str]:
    """Return warnings about a tokens file. Raise InputError if it has an invalid line or no token."""
    found, errors = read_tokens(path)
    if errors:
        raise InputError(f"OHLCV_API_TOKENS: {path}: {errors[0]}")
    if not found:
        raise InputError(f"OHLCV_API_TOKENS: {path} has no token: add one with 'ohlcv serve --new-token NAME'")
    if path.stat().st_mode & 0o077:
        return [f"other users can read {path}: run 'chmod 600 {path}'"]
    return []


def add_token(path: Path, name: str) -> str:
    """Append a new token to a tokens file and return it."""
    if not _NAME.fullmatch(name):
        raise InputError("the name of a token has 1 to 64 letters, digits, and the characters _ . -")
    if path.exists() and any(token.name == name for token in read_tokens(path)[0]):
        raise InputError(f"{path} has a token of {name}: choose another name, or remove its line first")
    token = secrets.token_urlsafe(MIN_TOKEN_LENGTH)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(descriptor, "r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            # A last line without a line break would be continued.
            separator = b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""
            file.write(separator + f"{name} {token}\n".encode())
    except OSError as error:
        raise OhlcvError(f"the token could not be added to {path}: {error.strerror}") from None
    return token


class TokenFile:
    """The tokens of a file that is read again when it changes.

    Invalid lines of a changed file are logged and accept no client; neither does a file that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokens: list[Token] = []
        self._state: tuple[int, ...] | None = None
        self._checked_at = float("-inf")

    def find(self, token: str) -> Token | None:
        """Return the token of the file that equals a presented one."""
        if time.monotonic() - self._checked_at >= CHECK_SECONDS:
            self._refresh()
        presented, found = digest(token), None
        for known in self._tokens:
            if hmac.compare_digest(known.digest, presented):
                found = known
        return found

    def _refresh(self) -> None:
        self._checked_at = time.monotonic()
        try:
            status = self._path.stat()
            state: tuple[int, ...] = (status.st_mtime_ns, status.st_size, status.st_ino)
        except OSError:
            state = ()
        if state == self._state:
            return
        self._state = state
        try:
            self._tokens, errors = read_tokens(self._path)
        except InputError as error:
            self._tokens, errors = [], [str(error)]
        for each in errors:
            LOG.error("tokens file: %s", each)
        LOG.info("the tokens file has been read; valid tokens: %d", len(self._tokens))
