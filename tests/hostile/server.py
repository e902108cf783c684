"""Server that runs hostile cases: it imports the command line once and forks a process for every command.

A new `ohlcv` process spends up to two seconds on imports, a forked one none. Every COLD_INTERVAL-th case starts new
processes nevertheless, so that the start of the command is also tested. The server reads requests (`{"seed": …,
"number": …}`) from stdin and writes an outcome for each to stdout, one JSON object per line.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from hostile.case import Case, Disk, Site
from hostile.checks import Outcome, check_case
from hostile.generate import generate
from hostile.home import TableState, files_of, in_child, prepare, read_state, remove, restore
from hostile.process import Observer, become_command
from ohlcv.cli.commands import COMMANDS
from ohlcv.cli.main import main

COLD_INTERVAL = 25
SMALL_DISK_BYTES = 16 * 1024**2
FILLER = "filler"
# Imported by commands when they need them, and without side effects.
MODULES = (
    *(f"ohlcv.cli.{name}" for name in COMMANDS),
    "ohlcv.ingest.loader",
    "ohlcv.ingest.sample_feed",
    "ohlcv.monitoring.doctor",
    "ohlcv.monitoring.health",
    "ohlcv.quality.report",
    "ohlcv.quality.validator",
    "ohlcv.readers.candles",
    "pyiceberg.catalog.rest",
    "pyiceberg.catalog.sql",
    "pyiceberg.io.pyarrow",
    "rich.console",
    "rich.table",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
    "zipfile",
)


@dataclass(frozen=True)
class Command:
    """What a forked process has to run."""

    case: Case
    site: Site
    streams: tuple[int, int, int]
    arguments: list[str]
    cold: bool


def open_site(folder: Path, ports: dict[str, int]) -> Site:
    """Create the folders of a server, mount its small disk and prepare the homes."""
    site = Site(folder, _mount_small_disk(folder / "small"), os.geteuid() == 0, ports)
    in_child(lambda: prepare(site.home()))
    restore(site.home(), folder / "pristine-large")
    if site.has_small_disk:
        in_child(lambda: prepare(site.home("small")))
        restore(site.home("small"), folder / "pristine-small")
    return site


def _mount_small_disk(folder: Path) -> bool:
    """Mount a small file system in the private mount namespace that the campaign started this server in."""
    folder.mkdir(parents=True)
    if os.readlink("/proc/self/ns/mnt") == os.readlink(f"/proc/{os.getppid()}/ns/mnt"):
        return False
    options = ["-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs"]
    return subprocess.run(["mount", *options, folder], capture_output=True, check=False).returncode == 0


def serve(site: Site) -> Command | None:
    """Answer requests. Return in a forked process what it has to run, and in the server None after the last request."""
    states = {disk: read_state(site.home(disk)) for disk in site.disks}
    for line in sys.stdin:
        request = json.loads(line)
        outcome = _run_case(site, states, request["seed"], request["number"])
        if isinstance(outcome, Command):
            return outcome
        print(json.dumps(asdict(outcome)), flush=True)
    return None


def _run_case(site: Site, states: dict[Disk, TableState], seed: int, number: int) -> Outcome | Command:
    for folder in (site.case, site.temporary):
        remove(folder)
        folder.mkdir()
    if site.has_small_disk:
        (site.small / FILLER).unlink(missing_ok=True)
    case = generate(seed, number, site)
    home = site.home(case.disk)
    restore(site.folder / f"pristine-{case.disk}", home)
    if case.prepare is not None:
        case.prepare()
    if case.free_bytes is not None:
        _fill_disk(site, case.free_bytes)
    files = files_of(home)
    holder = None if case.locked_seconds is None else _lock_catalog(home, case.locked_seconds)
    ends = []
    for arguments in case.commands:
        observer = Observer(case)
        if (pid := os.fork()) == 0:
            return Command(case, site, observer.streams, arguments, cold=number % COLD_INTERVAL == 0)
        ends.append(observer.observe(pid))
    if holder is not None:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
    return check_case(seed, number, case, site, ends, states[case.disk], files)


def _fill_disk(site: Site, free_bytes: int) -> None:
    """Fill the small disk up to a number of free bytes."""
    status = os.statvfs(site.small)
    filler = status.f_bavail * status.f_frsize - free_bytes
    if filler > 0:
        with (site.small / FILLER).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, filler)


def _lock_catalog(home: Path, seconds: float) -> int:
    """Lock the catalog in another process for some seconds, and return its pid."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        connection = sqlite3.connect(home / "catalog.db")
        connection.execute("BEGIN EXCLUSIVE")
        os.write(writer, b"locked")
        time.sleep(seconds)
        connection.close()
        os._exit(0)
    os.close(writer)
    os.read(reader, 6)
    os.close(reader)
    return pid


def start(folder: Path, ports: dict[str, int]) -> Command | None:
    """Prepare the server and answer requests."""
    # Until the command begins, an interrupt ends the process without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for name in MODULES:
        import_module(name)
    site = open_site(folder, ports)
    gc.collect()
    gc.freeze()
    return serve(site)


def run(command: Command) -> NoReturn:
    """Run a command in this forked process, and end the process as the command ends.

    Deleting all objects of the server would take longer than most commands. Only commands in new processes do it.
    """
    become_command(command.case, command.site, command.streams, command.arguments, command.cold)
    try:
        main(command.arguments)
    except SystemExit as end:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    raise AssertionError("the command line always ends with an exit code")


if __name__ == "__main__":
    if command := start(Path(sys.argv[1]), json.loads(sys.argv[2])):
        run(command)
