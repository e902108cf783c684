"""Kinds of cases in hostile surroundings: streams, signals, disks, permissions, locks, working directory."""

from __future__ import annotations

import random
import signal

from hostile.case import Case, Site, Stream, chance
from hostile.command_kinds import READING, reading_command
from hostile.home import data_folder
from hostile.trade_files import csv_text, encode, load, zip_bytes
from hostile.trade_rows import REQUIRED, valid_row

COLUMNS = [*REQUIRED, "side"]


def loading_command(rng: random.Random, site: Site, rows: int) -> list[str]:
    """Write a file of valid rows and return the command that loads it."""
    path = site.case / "trades.csv"
    path.write_bytes(encode(csv_text(rng, COLUMNS, [valid_row(rng, number) for number in range(rows)])))
    return load(str(path), *rng.choice(([], ["--json"])))


def streams(rng: random.Random, site: Site) -> Case:
    """Run a command with closed, full or broken streams. A load is complete or has no effect."""
    kinds: tuple[Stream, ...] = ("pipe", "closed", "full", "broken")
    rows = rng.randint(1, 50)
    loads = chance(rng, 0.4)
    command = (
        loading_command(rng, site, rows)
        if loads
        else rng.choice((reading_command(rng), ["--help"], ["nonsense"], ["trades"]))
    )
    return Case(
        "streams",
        [command],
        stdin=rng.choice(("null", "closed")),
        stdout=rng.choice(kinds),
        stderr=rng.choice(("pipe", *kinds)),
        broken_after=rng.choice((0, 1, 50, 500)),
        new_rows=rows if loads else None,
    )


def readers_that_exit(rng: random.Random, site: Site) -> Case:
    """Read tables through a pipe whose reader exits early, as in `ohlcv candles | head -1`."""
    command, codes = rng.choice(READING)
    return Case(
        "readers that exit",
        [list(command)],
        stdout="broken",
        broken_after=rng.choice((0, 1, 100)),
        codes=frozenset({*codes, 141}),
    )


def encodings(rng: random.Random, site: Site) -> Case:
    """Print to terminals that cannot show every character."""
    rows = rng.randint(1, 30)
    loads = chance(rng, 0.3)
    command = loading_command(rng, site, rows) if loads else reading_command(rng)
    settings = {"PYTHONIOENCODING": rng.choice(("ascii", "latin-1", "cp437", "utf-8:surrogateescape"))}
    return Case("encodings", [command], settings, new_rows=rows if loads else None)


def signals(rng: random.Random, site: Site) -> Case:
    """Interrupt or terminate a command at a random moment."""
    rows = rng.choice((10, 2_000, 60_000))
    kind = rng.choice(("load", "load", "sample", "feed", "read"))
    loads = kind == "load"
    if loads:
        command = loading_command(rng, site, rows)
    elif kind == "read":
        command = reading_command(rng)
    elif kind == "sample":
        command = ["trades", "sample", "--trades", "5000", "--hours", "40"]
    else:
        command = ["trades", "feed", "--trades", "500"]
    delay = rng.choice((rng.uniform(0.01, 0.4), rng.uniform(0.01, 2.0)))
    if "feed" in command:
        delay += 0.3
    number = rng.choice((signal.SIGINT, signal.SIGINT, signal.SIGTERM))
    return Case("signals", [command], signal=(int(number), delay), new_rows=rows if loads else None)


def full_disk(rng: random.Random, site: Site) -> Case:
    """Load trades to a disk that becomes full. Without the right to mount one, only the size of files is limited."""
    rows = rng.choice((20, 3_000, 40_000))
    if not site.has_small_disk or chance(rng, 0.3):
        case = Case("file size limit", [loading_command(rng, site, rows)], new_rows=rows)
        case.file_size_limit = rng.choice((0, 1, 1000, 4096, 20_000, 200_000, 2_000_000))
        return case
    case = Case("full disk", [loading_command(rng, site, rows)], new_rows=rows)
    case.free_bytes = rng.choice((0, 4096, 8192, 20_000, 50_000, 100_000, 400_000, 2_000_000))
    if chance(rng, 0.3):
        folder = site.small / "tmp"
        case.settings["TMPDIR"] = str(folder)
        case.prepare = lambda: folder.mkdir(exist_ok=True)
    case.disk = "large" if case.settings and chance(rng, 0.5) else "small"
    return case


def permissions(rng: random.Random, site: Site) -> Case:
    """Take permissions on parts of the home away. Commands that only read need no right to write."""
    home = site.home()
    target, mode = rng.choice(
        (
            ("all", 0o555),
            ("catalog.db", 0o444),
            ("catalog.db", 0),
            (".", 0o555),
            (".", 0),
            ("warehouse", 0o555),
            ("warehouse", 0),
            ("metadata", 0o555),
            ("metadata", 0),
            ("data", 0o555),
            ("data", 0),
            ("file", 0),
            ("tmp", 0o555),
        )
    )

    def prepare() -> None:
        folder = home / data_folder()
        if target == "all":
            for path in (*home.rglob("*"), home):
                path.chmod(0o555 if path.is_dir() else 0o444)
        elif target == "file":
            for path in folder.rglob("*.parquet"):
                path.chmod(mode)
        elif target == "tmp":
            site.temporary.chmod(mode)
        else:
            path = {"metadata": folder.parent / "metadata", "data": folder}.get(target, home / target)
            path.chmod(mode)

    loads = chance(rng, 0.4)
    command, codes = rng.choice(READING)
    if loads:
        command = loading_command(rng, site, 20)
    elif chance(rng, 0.1):
        command, codes = ["tables", "create", "--no-views"], {0, 1, 2}
    reads_only = not loads and command[0] != "tables" and mode in (0o555, 0o444)
    return Case(
        "permissions",
        [list(command)],
        restricted=True,
        prepare=prepare,
        codes=frozenset(codes) if reads_only else None,
        new_rows=20 if loads else None,
        # Without the right to drop capabilities the reader that checks the table has no rights either.
        is_readable=site.drops_capabilities,
        note=f"{target} {mode:o}",
    )


def locked_catalog(rng: random.Random, site: Site) -> Case:
    """Run a command while another process locks the catalog for a moment."""
    loads = chance(rng, 0.5)
    command, codes = rng.choice(READING)
    return Case(
        "locked catalog",
        [loading_command(rng, site, 20) if loads else list(command)],
        locked_seconds=rng.uniform(0.1, 1.5),
        codes=frozenset({0}) if loads else frozenset(codes),
        new_rows=20 if loads else None,
    )


def deleted_folder(rng: random.Random, site: Site) -> Case:
    """Run a command in a working directory that was deleted."""
    rows = rng.randint(1, 20)
    loads = chance(rng, 0.3)
    command = loading_command(rng, site, rows) if loads else reading_command(rng)
    case = Case("deleted folder", [command], removes_folder=True, new_rows=rows if loads else None)
    if chance(rng, 0.3):
        case.settings["OHLCV_HOME"] = ""
        case.new_rows = None
        case.is_readable = False
    elif chance(rng, 0.2):
        (site.case / "a.zip").write_bytes(zip_bytes({}))
        case.commands = [load("a.zip")]
        case.new_rows = None
    else:
        case.codes = frozenset({0, 1})
    return case


def odd_variables(rng: random.Random, site: Site) -> Case:
    """Run a command with odd values of variables that libraries read."""
    name, value = rng.choice(
        (
            ("TMPDIR", "/nonexistent"),
            ("TMPDIR", ""),
            ("TMPDIR", "/dev/null"),
            ("HOME", ""),
            ("HOME", "/nonexistent"),
            ("TZ", "Asia/Kathmandu"),
            ("TZ", "nonsense"),
            ("LANG", "tr_TR.UTF-8"),
            ("LC_ALL", "C"),
            ("COLUMNS", "1"),
            ("COLUMNS", "-5"),
            ("TERM", "dumb"),
            ("FORCE_COLOR", "1"),
            ("NO_COLOR", "1"),
            ("PYICEBERG_CATALOG__OHLCV__URI", "sqlite:////nonexistent/x.db"),
            ("PYICEBERG_HOME", "/nonexistent"),
            ("http_proxy", "http://127.0.0.1:1"),
            ("PYTHONWARNINGS", "error"),
            ("OMP_NUM_THREADS", "0"),
            ("ARROW_DEFAULT_MEMORY_POOL", "nonsense"),
        )
    )
    rows = rng.randint(1, 20)
    loads = chance(rng, 0.5)
    command = loading_command(rng, site, rows) if loads else reading_command(rng)
    return Case("variables", [command], {name: value}, new_rows=rows if loads else None, note=f"{name}={value}")
