"""Parsers of setting values, used by all groups of settings."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from ohlcv.model.errors import InputError
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES, TIMEFRAMES

# A file of a secret or of a mapping is read up to this size.
MAX_FILE_BYTES = 65_536
# Only ASCII: the HTTP clients do not encode other characters.
_WEB_ADDRESS = re.compile(r"https?://(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(?:/[!-~]*)?", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def redacted(address: str) -> str:
    """Return an address for a message: only the scheme if the address may contain a user, a password or a query."""
    if not re.search(r"[@?#]", address):
        return address
    scheme = _SCHEME.match(address) if "://" in address else None
    return f"{scheme[0]}//…" if scheme else "…"


def check_characters(name: str, text: str, *, is_secret: bool) -> None:
    """Raise InputError if a value is not UTF-8 text, or contains a control character and is not a secret."""
    # Python represents the bytes of an environment variable that are not UTF-8 as surrogates.
    if re.search(r"[\ud800-\udfff]", text):
        raise InputError(f"{name} is not UTF-8 text: correct it")
    if not is_secret and re.search(r"[\x00-\x1f\x7f-\x9f]", text):
        raise InputError(f"{name} contains a line break or another control character: remove it")


def recipients(text: str | None) -> tuple[str, ...]:
    """Return the email addresses in a comma-separated list."""
    found = tuple(filter(None, (part.strip() for part in (text or "").split(","))))
    for address in found:
        if not re.fullmatch(r"[^@\s]+@[^@\s]+", address):
            raise InputError(f"OHLCV_ALERT_EMAIL contains '{address}': give email addresses such as you@example.com")
    return found


def is_web_address(text: str) -> bool:
    """Return whether a text is an http(s) address without user, password and query."""
    # Not urlsplit: it accepts an invalid port without an error.
    match = _WEB_ADDRESS.fullmatch(text)
    return match is not None and not re.search(r"[@?#]", text) and is_port(match[1] or "80")


def is_port(text: str) -> bool:
    """Return whether a text is the number of a TCP port."""
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 0 < int(text) < 65_536


def web_address(values: Mapping[str, str], name: str) -> str | None:
    """Return an http(s) address without its trailing slash."""
    text = values.get(name)
    if not text:
        return None
    if not is_web_address(text):
        raise InputError(
            f"{name} is '{redacted(text)}': give an address such as http://host:8080, without user, password or query"
        )
    return text.rstrip("/")


def spark_master(values: Mapping[str, str]) -> str | None:
    """Return the address of the Spark master."""
    text = values.get("OHLCV_SPARK_MASTER")
    if not text:
        return None
    if not is_spark_master(text):
        raise InputError(
            f"OHLCV_SPARK_MASTER is '{redacted(text)}': give an address such as spark://host:7077, or local[2]"
        )
    return text


def is_spark_master(text: str) -> bool:
    """Return whether a text is the address of one or several standalone masters, or a local mode."""
    if re.fullmatch(r"local(\[([1-9][0-9]{0,3}|\*)(,[0-9]{1,4})?\])?", text):
        return True
    if not text.startswith("spark://"):
        return False
    found = [re.fullmatch(r"[\w.-]+(?::(\d+))?", each, re.ASCII) for each in text.removeprefix("spark://").split(",")]
    return all(match is not None and is_port(match[1] or "7077") for match in found)


def check_runbook(values: Mapping[str, str]) -> None:
    """Raise InputError if the address of the runbook contains a user. A wiki may need a query."""
    text = values.get("OHLCV_RUNBOOK_URL") or ""
    if "@" in text.partition("?")[0]:
        raise InputError(f"OHLCV_RUNBOOK_URL is '{redacted(text)}': give an address without user and password")


def whole_number(name: str, text: str, maximum: int, minimum: int = 1) -> int:
    """Return a whole number from `minimum` to `maximum`."""
    # Not int() alone: it accepts other digits, signs, spaces and underscores.
    if not re.fullmatch(r"[0-9]{1,15}", text) or not minimum <= int(text) <= maximum:
        raise InputError(f"{name} must be a whole number from {minimum} to {maximum}, not '{text[:50]}'")
    return int(text)


def megabytes(memory: str) -> int:
    """Return an amount of memory, such as 1024m or 2g, in megabytes."""
    return int(memory[:-1]) * {"m": 1, "g": 1024}[memory[-1]]


def local_path(name: str, path: str) -> str:
    """Return a path that every client of a catalog or a warehouse understands as it is."""
    # pyiceberg cuts a location at ? and #. SQLite and Java decode %20 in some addresses and not in others.
    if found := re.search(r"[?#%]", path):
        raise InputError(f"{name} is {path}, with '{found[0]}': give a folder without ?, # and % in its path")
    check_characters(name, path, is_secret=False)
    return path


def absolute_path(name: str, path: str) -> str:
    """Return the absolute form of a path that may be relative to the working directory."""
    try:
        return str(Path(path).absolute())
    except FileNotFoundError:
        raise InputError(f"the working directory does not exist any more: set {name} to an absolute path") from None


def has_scheme(text: str) -> bool:
    """Return whether a text begins with the scheme of an address, and is not a path."""
    return _SCHEME.match(text) is not None


def secret(values: Mapping[str, str], name: str) -> str | None:
    """Return a secret from its variable or from the file named by its …_FILE variable."""
    if path := values.get(f"{name}_FILE"):
        # An empty file counts as unset: a deployment mounts the files of all secrets, used or not.
        return read_text_file(f"{name}_FILE", Path(path), "the secret").strip() or None
    return values.get(name) or None


def read_text_file(name: str, path: Path, content_name: str) -> str:
    """Return the text of a small file. `name` is that of its setting. Both names are for messages."""
    try:
        # O_NONBLOCK: opening a named pipe would otherwise wait for its writer.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(f"{name} is not a regular file: give a file with only {content_name}")
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise InputError(f"{name} is larger than {MAX_FILE_BYTES} bytes: give a file with only {content_name}")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InputError(f"{name} is a binary file: give a UTF-8 text file with only {content_name}")
    return text


def enabled_timeframes(values: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names in OHLCV_TIMEFRAMES, in order of length. Raise InputError for an unknown or repeated one."""
    name = "OHLCV_TIMEFRAMES"
    text = values.get(name)
    if not text:
        return tuple(DEFAULT_TIMEFRAMES)
    given = [part.strip() for part in text.split(",")]
    for each in given:
        if each not in TIMEFRAMES:
            raise InputError(f"{name} has '{each[:50]}': give some of {', '.join(TIMEFRAMES)}, separated by commas")
        if given.count(each) > 1:
            raise InputError(f"{name} has {each} twice: remove one")
    return tuple(each for each in TIMEFRAMES if each in given)
