"""Kinds of cases with hostile arguments: every command and option that does not start Spark or Airflow.

`demo`, `maintain`, `sql` and `tables create` with views start Spark or Airflow, and `retention` does so if it deletes:
these appear only with arguments or in a home with which they fail before.
"""

from __future__ import annotations

import random

from hostile.case import Case, Site

# fmt: off
WORDS = (
    "--help", "-h", "--version", "--unknown", "--", "-", "", "candles", "trades", "load", "tables", "create",
    "--format", "--json", "\x1b[31m", "\udcff", "x" * 100_000, "--timeframe=1m", "--timeframe=", "-t",
    "--help=1", "@file", "%s", "feed", "env", "\u202e",
)
TIMES = (
    "", " ", "now", "0", "0001-01-01", "0001-01-01T00:00+14:00", "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59-14:00", "1969-12-31", "1970-01-01T00:00Z", "2026-01-31", "2026-01-31T12:00",
    "2026-01-31T12:00Z", "2026-01-31T13:00:00.000001+05:30", "2026-02-30", "2026-01-31T25:00Z", "2026-W05-6",
    "20260131T120000Z", "10000-01-01", "-2026-01-31", "1769860800", "\u0662\u0660\u0662\u0666-01-31", "\x1b[31m",
    "2262-04-12T00:00Z", "2100-01-01", "1677-01-01", "2026-01-31T12:00:00Z\n", "x" * 3000, "\udcff",
    "3000-01-01T00:00Z", "1900-01-01",
)
NAMES = (
    "1m",
    "5m",
    "30m",
    "1h",
    "1d",
    "all",
    "",
    " 1m",
    "1M",
    "2m",
    "1m\x00"[:2],
    "\x1b[31m",
    "\udcff",
    "x" * 5000,
    "../x",
    "1m;",
    "\u0661m",
)
NUMBERS = (
    "0",
    "1",
    "-1",
    "8",
    "100000",
    "1e3",
    "1_000",
    "\u0663",
    "9" * 30,
    "",
    " 1",
    "0x1",
    "1.5",
    "nan",
    "inf",
    "-inf",
    "\x1b[31m",
    "2147483648",
)
TEXTS = (
    "BTC-USD",
    "acme",
    "",
    " ",
    "'",
    '"',
    "%",
    "\\",
    "\x1b[31mred",
    "\udcff",
    "x" * 100_000,
    "\u202e",
    "a\nb",
    "NULL",
    "*",
    "--",
    "\x7f",
    "BTC%",
)
FORMATS = ("table", "csv", "json", "text", "shell", "", "xml", "CSV", "\x1b[31m")
DAYS = (
    "",
    " ",
    "2026-01-31",
    "0001-01-01",
    "9999-12-31",
    "2026-13-01",
    "today",
    "1969-12-31",
    "\u0662026-01-01",
    "2026-01-31T00:00Z",
    "\x1b[31m",
)
RANGES = (
    "1m=2026-01-31T10:00:00Z/2026-01-31T10:10:00Z",
    "",
    "=",
    "/",
    "1m=/",
    "1m=0001-01-01/9999-12-31",
    "x=1/2",
    "1m",
    "\x1b[31m=a/b",
)
# Command -> option -> values; an option without values is a flag. "" stands for an argument.
OPTIONS: dict[tuple[str, ...], dict[str, tuple[str, ...]]] = {
    ("candles",): {
        "--timeframe": NAMES, "--symbol": TEXTS, "--exchange": TEXTS, "--start": TIMES, "--end": TIMES,
        "--limit": NUMBERS, "--fill": ("previous", "", "next"), "--format": FORMATS,
    },
    ("validate",): {
        "--timeframe": NAMES, "--lookback-days": NUMBERS, "--start": TIMES, "--end": TIMES, "--run": TEXTS,
        "--range": RANGES, "--format": FORMATS,
    },
    ("retention", "--dry-run"): {"--timeframe": NAMES, "--as-of": DAYS, "--max-share": NUMBERS, "--format": FORMATS},
    ("health",): {"--format": FORMATS},
    ("env",): {"--format": FORMATS},
    ("tables", "create", "--no-views"): {"--create-bucket": ()},
    ("tables", "widen-volume"): {"--timeframe": NAMES},
    ("trades", "load", "missing.csv"): {
        "--format": ("generic", "binance", "kraken", "", "Kraken"), "--exchange": TEXTS, "--symbol": TEXTS,
        "--skip-refused": (), "--json": (), "": TEXTS,
    },
    ("trades", "sample"): {
        "--trades": ("8", "20", "1000", "7", *NUMBERS), "--hours": ("1", "5", *NUMBERS), "--end": TIMES,
        "--seed": NUMBERS, "--duplicates": ("0.5", "0.999", "20", *NUMBERS), "--bad-rows": NUMBERS, "--json": (),
    },
    ("build", "--end", "0001-01-01"): {
        "--timeframe": NAMES, "--start": ("0001-01-01", "9999-12-31", "", "x"), "--master": TEXTS, "--json": (),
    },
    ("maintain", "--as-of", "2999-01-01"): {"--timeframe": NAMES, "--format": FORMATS},
    ("sql",): {"--limit": ("0", "-1", "x"), "--format": FORMATS},
    ("airflow",): {"": TEXTS},
    ("demo", "--trades", "0"): {"--once": ()},
}
# fmt: on
# Commands without hostile arguments that read the tables, with the exit codes of a healthy home.
READING = (
    (["candles", "--timeframe", "1m"], {0}),
    (["candles", "--timeframe", "1h", "--format", "csv"], {0}),
    (["candles", "--timeframe", "5m", "--format", "json", "--fill", "previous", "--start", "2026-01-31T12:00Z"], {0}),
    (["candles", "--timeframe", "1d", "--symbol", "none"], {0}),
    (["validate", "--timeframe", "1m", "--start", "2026-01-31T12:00Z", "--end", "2026-01-31T14:00Z"], {0}),
    (["validate", "--format", "json", "--start", "2026-01-31", "--end", "2026-02-01"], {0}),
    (["validate"], {0, 1}),
    (["health"], {0, 1}),
    (["retention", "--dry-run", "--as-of", "2026-02-01"], {0}),
)


def reading_command(rng: random.Random) -> list[str]:
    """Return a command that reads the tables and changes nothing."""
    return list(rng.choice(READING)[0])


def hostile_arguments(rng: random.Random, site: Site) -> Case:
    """Run a command with hostile values of its options."""
    command, options = rng.choice(list(OPTIONS.items()))
    arguments = list(command)
    for option in rng.sample(list(options), rng.randint(0, min(4, len(options)))):
        values = options[option]
        for _ in range(rng.choice((1, 1, 1, 2))):
            arguments += [option] if option else []
            arguments += [rng.choice(values)] if values else []
    if command[0] == "candles" and "--timeframe" not in arguments:
        arguments += ["--timeframe", "1m"]
    _limit_sample(arguments)
    return Case("arguments", [arguments])


def _limit_sample(arguments: list[str]) -> None:
    """Keep the default number of sample trades small: the case is about its other options."""
    if arguments[:2] == ["trades", "sample"] and "--trades" not in arguments:
        arguments += ["--trades", "50"]


def odd_command_lines(rng: random.Random, site: Site) -> Case:
    """Run command lines that no command accepts, or that ask for help."""
    arguments = [rng.choice(WORDS) for _ in range(rng.randint(0, 5))]
    # Such a line would create views with Spark.
    if arguments[:2] == ["tables", "create"]:
        arguments.append("--no-views")
    if arguments[:2] == ["trades", "feed"]:
        arguments.append("--unknown")
    return Case("command lines", [arguments])
