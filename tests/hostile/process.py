"""The process of a command: forked from the server, with prepared streams, observed until it ends or hangs."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import struct
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from hostile.case import Case, Site, Stream

# A command hangs if it uses this much processor time, or none for so long. Other limits would depend on the machine.
BUSY_SECONDS = 90.0
IDLE_SECONDS = 75.0
# The observer kills a command above this, so that a defect does not exhaust the machine.
KILL_BYTES = 6 * 1024**3
# CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER: the rights of root to ignore permissions.
IGNORE_PERMISSIONS = (1, 2, 3)
_PR_CAPBSET_DROP = 24
_CAPABILITY_VERSION_3 = 0x20080522
_MAX_OUTPUT = 4 * 1024 * 1024


@dataclass
class Ended:
    """How a command ended. The exit code is the one a shell reports: 128 plus the number of a signal."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    peak_bytes: int
    # Why the observer killed it; empty if it ended by itself.
    killed: str = ""
    # Whether a signal of the case reached it.
    signalled: bool = False


def environment(case: Case, site: Site) -> dict[str, str]:
    """Return the complete environment of a command."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(site.case),
        "LANG": "C.UTF-8",
        "TMPDIR": str(site.temporary),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "OHLCV_HOME": str(site.home(case.disk)),
        # The doctor's native query takes seconds.
        "OHLCV_NATIVE": "no",
        **case.settings,
    }


def become_command(case: Case, site: Site, streams: tuple[int, int, int], arguments: list[str], cold: bool) -> None:
    """Turn this forked process into one that is about to run the command; with `cold`, replace it by a new one."""
    os.setsid()
    if case.removes_folder:
        (site.case / "removed").mkdir()
        os.chdir(site.case / "removed")
        os.rmdir(site.case / "removed")
    else:
        os.chdir(site.case)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for number, kind in enumerate((case.stdin, case.stdout, case.stderr)):
        if kind == "closed":
            os.close(number)
    os.closerange(3, 1024)
    if case.file_size_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (case.file_size_limit, case.file_size_limit))
    if case.restricted and site.drops_capabilities:
        drop_capabilities()
    variables = environment(case, site)
    if cold:
        os.execve(Path(sys.executable).with_name("ohlcv"), ["ohlcv", *arguments], variables)
    sys.argv = ["ohlcv", *arguments]
    os.environ.clear()
    os.environ.update(variables)
    tempfile.tempdir = None
    # None for a closed stream, as in a new process.
    for index, (name, kind) in enumerate((("stdin", case.stdin), ("stdout", case.stdout), ("stderr", case.stderr))):
        text_stream = _text_stream(index, kind)
        setattr(sys, name, text_stream)
        setattr(sys, f"__{name}__", text_stream)


def _text_stream(number: int, kind: Stream) -> TextIO | None:
    if kind == "closed":
        return None
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "utf-8").partition(":")
    if number == 2:
        errors = "backslashreplace"
    file = os.fdopen(number, "w" if number else "r", encoding=encoding, errors=errors or None, closefd=False)
    if number == 2:
        file.reconfigure(line_buffering=True)
    return file


def drop_capabilities() -> None:
    """Take the rights of root to ignore permissions from this process and from programs that it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in IGNORE_PERMISSIONS:
        if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    if libc.capget(header, data):
        raise OSError(ctypes.get_errno(), "capget")
    words = list(struct.unpack("=6I", data.raw))
    mask = ~sum(1 << capability for capability in IGNORE_PERMISSIONS) & 0xFFFFFFFF
    words[:3] = [word & mask for word in words[:3]]
    if libc.capset(header, struct.pack("=6I", *words)):
        raise OSError(ctypes.get_errno(), "capset")


class Observer:
    """Parent's side of a running command: reads its output, sends the signal of the case, ends it if it hangs."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._readers: dict[int, tuple[Stream, bytearray]] = {}
        self._output: list[bytearray] = []
        self._child_ends: list[int] = []
        self.streams = (
            self._opened("/dev/null", os.O_RDONLY),
            self._output_stream(case.stdout),
            self._output_stream(case.stderr),
        )

    def _opened(self, path: str, flags: int) -> int:
        self._child_ends.append(os.open(path, flags | os.O_CLOEXEC))
        return self._child_ends[-1]

    def _output_stream(self, kind: Stream) -> int:
        self._output.append(bytearray())
        if kind in ("pipe", "broken"):
            reader, writer = os.pipe()
            self._readers[reader] = (kind, self._output[-1])
            self._child_ends.append(writer)
            return writer
        return self._opened("/dev/full" if kind == "full" else "/dev/null", os.O_WRONLY)

    def observe(self, pid: int) -> Ended:
        """Wait until the command ends."""
        for stream in self._child_ends:
            os.close(stream)
        begin = time.monotonic()
        exit_file = os.pidfd_open(pid)
        killed, signalled = "", False
        idle = IdleClock(pid)
        pending = self._case.signal
        ended = False
        while not ended:
            now = time.monotonic() - begin
            if pending is not None and now >= pending[1]:
                _kill(pid, pending[0])
                pending, signalled = None, True
            if not killed and (killed := idle.reason_to_kill()):
                _kill(pid, signal.SIGKILL)
            wait = 0.2 if pending is None else min(0.2, max(0.0, pending[1] - now))
            ready, _, _ = select.select([exit_file, *self._readers], [], [], wait)
            for reader in [reader for reader in ready if reader in self._readers]:
                self._read(reader)
            ended = exit_file in ready
        self._drain()
        os.close(exit_file)
        # Processes that the command started and left behind.
        _kill(-pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        stdout, stderr = (bytes(output).decode(errors="backslashreplace") for output in self._output)
        code = code if code >= 0 else 128 - code
        return Ended(code, stdout, stderr, time.monotonic() - begin, usage.ru_maxrss * 1024, killed, signalled)

    def _read(self, reader: int) -> None:
        kind, output = self._readers[reader]
        block = os.read(reader, 65536)
        if len(output) < _MAX_OUTPUT:
            output += block
        if not block or (kind == "broken" and len(output) >= self._case.broken_after):
            os.close(reader)
            del self._readers[reader]

    def _drain(self) -> None:
        """Read what is left in the pipes. A process that the command left behind may still hold them open."""
        for reader, (_, output) in self._readers.items():
            os.set_blocking(reader, False)
            with suppress(BlockingIOError):
                while block := os.read(reader, 65536):
                    output += block
            os.close(reader)


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        if pid < 0:
            os.killpg(-pid, number)
        else:
            os.kill(pid, number)


class IdleClock:
    """Measures the processor time and the memory of a running command."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self._busy = 0.0
        self._last_busy = time.monotonic()

    def reason_to_kill(self) -> str:
        """Return why the command must be ended, or an empty text."""
        try:
            # The second field, the name of the program, ends with the last parenthesis.
            fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        busy = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        if busy != self._busy:
            self._busy, self._last_busy = busy, time.monotonic()
        if busy > BUSY_SECONDS:
            return f"still running after {BUSY_SECONDS:.0f} s of processor time"
        if time.monotonic() - self._last_busy > IDLE_SECONDS:
            return f"idle for {IDLE_SECONDS:.0f} s"
        if int(fields[21]) * os.sysconf("SC_PAGE_SIZE") > KILL_BYTES:
            return f"used more than {KILL_BYTES // 1024**3} GiB of memory"
        return ""
