"""`ohlcv trades`: load trade files or sample trades into the trades table."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ohlcv.cli.terminal import Progress, echo, parse_time_option, print_table, report_of, spinner
from ohlcv.config.settings import load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import floor_time

if TYPE_CHECKING:
    from ohlcv.ingest.loader import LoadReport

MAX_PRINTED_REFUSALS = 20
# Ten million trades take about 4 GB of memory. A year of hours is 8,784 partitions.
MAX_SAMPLE_TRADES = 10_000_000
MAX_SAMPLE_HOURS = 8_784


@click.group()
def trades() -> None:
    """Load trades from files, or generate sample trades."""


@trades.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["generic", "binance", "kraken"]),
    default="generic",
    show_default=True,
    help="generic: column names of the trades table; binance, kraken: dumps of these exchanges.",
)
@click.option("--exchange", help="Exchange, for files without an exchange column.  [default: that of the format]")
@click.option("--symbol", help="Symbol such as BTC-USD, for files without a symbol column.")
@click.option(
    "--skip-refused", is_flag=True, help="Load the valid rows even if other rows are refused.  [default: off]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def load(
    files: tuple[Path, ...],
    format_name: str,
    exchange: str | None,
    symbol: str | None,
    skip_refused: bool,
    as_json: bool,
) -> int:
    """Load trade files (CSV, CSV.gz, zip, Parquet) in one commit, each trade once.

    If a row is refused, nothing is loaded, unless --skip-refused is given. Refused rows are listed with line number
    and reason.
    """
    from ohlcv.ingest.loader import load_trades

    with _progress_reporter() as report_progress:
        report = load_trades(
            load_settings(),
            files,
            format=format_name,
            exchange=exchange,
            symbol=symbol,
            skip_refused=skip_refused,
            progress=report_progress,
        )
    _print_report(report, as_json)
    return 1 if report.refused_count and not skip_refused else 0


@trades.command()
@click.option(
    "--trades",
    "count",
    type=click.IntRange(8, MAX_SAMPLE_TRADES),
    default=636_263,
    show_default=True,
    help="Number of trades.",
)
@click.option(
    "--hours",
    type=click.IntRange(1, MAX_SAMPLE_HOURS),
    default=13,
    show_default=True,
    help="Number of hours that the trades cover.",
)
@click.option("--end", help="End of the trades, an ISO time in 2009 to 2099.  [default: the last full hour]")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=7,
    show_default=True,
    help="Seed of the random number generator.",
)
@click.option(
    "--duplicates",
    type=click.FloatRange(0, MAX_SAMPLE_TRADES),
    default=0,
    show_default=True,
    help="Additional repeated deliveries, a quarter of them corrections: a share if below 1, otherwise a number.",
)
@click.option(
    "--bad-rows",
    type=click.IntRange(0, MAX_SAMPLE_TRADES),
    default=0,
    show_default=True,
    help="Additional invalid rows, which the jobs reject.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def sample(count: int, hours: int, end: str | None, seed: int, duplicates: float, bad_rows: int, as_json: bool) -> None:
    """Load generated trades of 8 series; repeating the command with the same options adds nothing."""
    from ohlcv.ingest.sample_data import load_sample

    until = floor_time(datetime.now(UTC), timedelta(hours=1))
    if end is not None:
        until = parse_time_option("--end", end)
    if not math.isfinite(duplicates):
        raise InputError(f"--duplicates is {duplicates}: give a share below 1 or a number")
    with _progress_reporter() as report_progress:
        report = load_sample(
            load_settings(),
            count,
            hours,
            until,
            seed,
            duplicates=duplicates,
            bad_rows=bad_rows,
            progress=report_progress,
        )
    _print_report(report, as_json)


@trades.command()
@click.option(
    "--trades",
    type=click.IntRange(8, MAX_SAMPLE_TRADES),
    default=636_263,
    show_default=True,
    help="Number of sample trades of the first two days.",
)
def feed(trades: int) -> None:
    """Load sample trades of the last two days, and then add new ones continuously until Ctrl-C.

    A later feed continues after the newest trade in the table.
    """
    from ohlcv.ingest.sample_feed import load_history, run_feed

    settings = load_settings()
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with _progress_reporter() as report_progress:
        report_progress(f"loading {trades:,} sample trades up to now")
        generator = load_history(settings, trades)
        report_progress("adding new trades continuously")
        run_feed(settings, generator, stopped, report_progress)


@contextmanager
def _progress_reporter() -> Iterator[Progress]:
    """Return a function that reports progress on stderr: in a spinner on a terminal, otherwise in plain lines."""
    if sys.stderr.isatty():
        with spinner("starting") as show:
            yield show
    else:
        yield lambda message: echo(message, err=True)


def _print_report(report: LoadReport, as_json: bool) -> None:
    done = "nothing was loaded" if report.snapshot_id is None else "the trades are loaded"
    with report_of(done):
        if as_json:
            click.echo(json.dumps(dataclasses.asdict(report)))
        else:
            _print_text(report)


def _print_text(report: LoadReport) -> None:
    if report.refused:
        _print_refused_rows(report)
    summary = f"{report.rows_read:,} rows read, {report.loaded:,} loaded, {report.already_there:,} already loaded"
    if report.refused_count:
        summary += f", {report.refused_count:,} refused"
    if report.refused_count and report.snapshot_id is None and not report.already_there:
        summary += ": nothing was loaded"
    echo(summary)


def _print_refused_rows(report: LoadReport) -> None:
    from rich.table import Table

    table = Table(title=f"{report.refused_count:,} rows refused", title_justify="left")
    table.add_column("File", overflow="fold")
    table.add_column("Line", justify="right")
    table.add_column("Reason", overflow="fold")
    for row in report.refused[:MAX_PRINTED_REFUSALS]:
        table.add_row(row.file, str(row.line), row.reason)
    print_table(table, full_width=False)
    if (more := report.refused_count - MAX_PRINTED_REFUSALS) > 0:
        echo(f"and {more:,} more")
