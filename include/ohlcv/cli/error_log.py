"""Log file of unexpected errors, without secrets."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, quote_plus

from ohlcv.cli.control_characters import neutralize
from ohlcv.config.settings import load_settings
from ohlcv.config.values import secret
from ohlcv.model.errors import InputError, OhlcvError

# OHLCV_API_TOKENS is the path of a file, which messages name.
_SECRET_NAME = re.compile(
    r"(?!OHLCV_API_TOKENS$)OHLCV_\w*(PASSWORD|TOKEN|SECRET|CREDENTIAL|ACCESS_KEY)\w*|AWS_\w*(SECRET|TOKEN)\w*"
)


def log_error(error: BaseException, environment: Mapping[str, str]) -> Path | None:
    """Append the traceback to OHLCV_HOME/logs/errors.log, or else to a new temporary file; return the file.

    Return None if neither can be written.
    """
    try:
        text = _describe(error, environment)
    except Exception:  # memory is exhausted, or a traceback without end
        text = f"{type(error).__name__}: the traceback is not available\n"
    try:
        folder = Path(environment.get("OHLCV_HOME") or ".ohlcv").absolute() / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "errors.log"
        _append(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), text)
    except (OSError, ValueError):
        try:
            descriptor, name = tempfile.mkstemp(prefix="ohlcv-error-", suffix=".log")
            _append(descriptor, text)
        except OSError:
            return None
        return Path(name)
    return log


def redact(text: str, environment: Mapping[str, str]) -> str:
    """Return the text with *** in place of every secret of the settings, also where it is quoted."""
    for found in sorted(set(_secrets(environment)), key=len, reverse=True):
        # A variable that is not text has bytes that only "surrogateescape" can encode.
        quoted = quote(found, safe="", errors="surrogateescape")
        for form in {found, quoted, quote_plus(found, errors="surrogateescape"), repr(found)[1:-1]}:
            text = text.replace(form, "***")
    return text


def _describe(error: BaseException, environment: Mapping[str, str]) -> str:
    head = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {shlex.join(['ohlcv', *sys.argv[1:]])}\n"
    details = "".join(traceback.format_exception(error))
    return neutralize(redact(head + details + "\n", environment), keep="\n")


def _append(descriptor: int, text: str) -> None:
    with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as log:
        log.write(text)


def _secrets(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if _SECRET_NAME.fullmatch(name):
            # A file that the settings refuse is not used, so its content appears nowhere.
            with contextlib.suppress(InputError):
                found = secret({name: value}, name.removesuffix("_FILE")) if name.endswith("_FILE") else value
                if found:
                    yield found
    # Those of pyiceberg's configuration. Invalid settings open no catalog.
    with contextlib.suppress(OhlcvError):
        yield from load_settings(environment).catalog.secrets
