"""Standard streams of a command: a failed write to stdout has its own error, stderr never fails."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterable
from typing import IO, TextIO

from ohlcv.model.errors import OhlcvError


class OutputError(OhlcvError):
    """The output of a command could not be written."""

    def __init__(self, cause: str, instead_of: str = "the output could not be written") -> None:
        super().__init__(f"{instead_of} ({cause})")
        self.cause = cause


class ClosedPipeError(Exception):
    """The program that reads stdout has exited (`ohlcv candles | head`)."""


def secure_streams() -> None:
    """Open the standard streams that the caller has closed, and make stdout and stderr those of this module."""
    # Without it, the next file that is opened, such as the catalog, would become stderr.
    for descriptor, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            # A write to a closed stdout must fail: it is opened for reading.
            os.set_inheritable(os.open(os.devnull, flags), True)
    # Tests replace the streams.
    if sys.stdout is sys.__stdout__:
        sys.stdout = output_stream(1, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = message_stream(2, sys.stderr)


def output_stream(descriptor: int, like: TextIO | None = None) -> TextIO:
    """Return a text stream whose failed writes raise OutputError or ClosedPipeError."""
    return _text_stream(_Output(descriptor, "w", closefd=False), like, "strict")


def message_stream(descriptor: int, like: TextIO | None = None) -> TextIO:
    """Return a text stream that ignores failed writes, so that a lost message never stops a command."""
    return _text_stream(_Messages(descriptor, "w", closefd=False), like, "backslashreplace", line_buffering=True)


def _text_stream(raw: io.FileIO, like: TextIO | None, errors: str, line_buffering: bool = False) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=like.encoding if like else "utf-8",
        errors=(like.errors if like else None) or errors,
        line_buffering=line_buffering or bool(like and like.line_buffering),
    )


class _Output(io.FileIO):
    def write(self, data: Iterable[int], /) -> int:  # type: ignore[override]
        try:
            return super().write(data)  # type: ignore[arg-type]
        except BrokenPipeError:
            _discard(self)
            raise ClosedPipeError from None
        except OSError as error:
            _discard(self)
            cause = "stdout is closed" if error.errno == errno.EBADF else error.strerror or str(error)
            raise OutputError(cause) from None


class _Messages(io.FileIO):
    def write(self, data: Iterable[int], /) -> int:  # type: ignore[override]
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError:
            return memoryview(data).nbytes  # type: ignore[arg-type]


def _discard(stream: IO[bytes] | io.FileIO) -> None:
    """Discard what is still buffered: Python writes it again when it exits."""
    with contextlib.suppress(OSError):
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, stream.fileno())
        os.close(sink)
