"""`ohlcv trades`: load trade files, or a made-up sample, into the trades table."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ohlcv.config.settings import load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import floor_time, iso, parse_time

if TYPE_CHECKING:
    from ohlcv.ingest.loader import LoadReport

SHOWN_REFUSALS = 20


@click.group()
def trades() -> None:
    """Load trades: files of several formats, or a sample."""


@trades.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["generic", "binance", "kraken"]),
    default="generic",
    show_default=True,
    help="How the files are written: generic has the table's column names, the others are the exchanges' dumps.",
)
@click.option("--exchange", help="The exchange of files that do not name it.  [default: the format's]")
@click.option("--symbol", help="The symbol of files that do not name it, such as BTC-USD.")
@click.option("--skip-refused", is_flag=True, help="Load the good rows although others are refused.  [default: off]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def load(
    files: tuple[Path, ...],
    format_name: str,
    exchange: str | None,
    symbol: str | None,
    skip_refused: bool,
    as_json: bool,
) -> None:
    """Load trade files (CSV, CSV.gz, zip, Parquet) in one commit, each trade once.

    One refused row and nothing is loaded, unless --skip-refused; every refused row is told with its line and reason.
    """
    from ohlcv.ingest.loader import load_trades

    with _progress() as say:
        report = load_trades(
            load_settings(),
            files,
            format=format_name,
            exchange=exchange,
            symbol=symbol,
            skip_refused=skip_refused,
            progress=say,
        )
    _print_report(report, as_json)
    if report.refused_count and not skip_refused:
        raise SystemExit(1)


@trades.command()
@click.option("--trades", "count", type=click.IntRange(min=8), default=636_263, show_default=True, help="How many.")
@click.option("--hours", type=click.IntRange(min=1), default=13, show_default=True, help="How many hours they cover.")
@click.option("--end", help="Where they end, an ISO time.  [default: the last full hour]")
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True, help="Another seed, other trades.")
@click.option(
    "--duplicates",
    type=click.FloatRange(min=0),
    default=0,
    show_default=True,
    help="Deliveries made again on top, some of them corrections: below 1 a share of the trades, else a count.",
)
@click.option("--bad-rows", type=click.IntRange(min=0), default=0, show_default=True, help="Rows a job must reject.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def sample(count: int, hours: int, end: str | None, seed: int, duplicates: float, bad_rows: int, as_json: bool) -> None:
    """Load made-up trades of 8 series; the same call again adds nothing."""
    from ohlcv.ingest.sample_data import load_sample

    until = floor_time(datetime.now(UTC), timedelta(hours=1))
    if end is not None:
        until, assumed = parse_time(end)
        if assumed:
            click.echo(f"note: --end {end} names no zone and is taken as UTC", err=True)
    if not math.isfinite(duplicates):
        raise InputError(f"--duplicates is {duplicates}: give a share below 1 or a count")
    try:
        until - timedelta(hours=hours)
    except OverflowError:
        raise InputError(f"{hours:,} hours up to {iso(until)} begin before the year 1") from None
    with _progress() as say:
        report = load_sample(
            load_settings(), count, hours, until, seed, duplicates=duplicates, bad_rows=bad_rows, progress=say
        )
    _print_report(report, as_json)


@trades.command()
@click.option(
    "--trades", type=click.IntRange(min=8), default=636_263, show_default=True, help="Sample trades of two days."
)
def feed(trades: int) -> None:
    """Load two days of made-up trades up to now, and go on adding new ones as time goes by, until Ctrl-C.

    A later feed goes on where this one left off.
    """
    from ohlcv.ingest.sample_feed import run_feed, load_history

    settings = load_settings()
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with _progress() as say:
        say(f"loading {trades:,} sample trades up to now")
        endless = load_history(settings, trades)
        say("adding new trades as time goes by")
        run_feed(settings, endless, stopped, say)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Give a place to say how far things are: a live line on a terminal, plain lines elsewhere; never stdout."""
    if not sys.stderr.isatty():
        yield lambda message: click.echo(message, err=True)
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status("starting") as status:
        yield lambda message: status.update(escape(message))


def _print_report(report: LoadReport, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(report), ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if report.refused:
        table = Table("File", "Line", "Reason", title=f"{report.refused_count:,} rows refused", title_justify="left")
        table.columns[1].justify = "right"
        for row in report.refused[:SHOWN_REFUSALS]:
            # Text, so that brackets in a file's content are no markup.
            table.add_row(Text(row.file, overflow="fold"), str(row.line), Text(row.reason, overflow="fold"))
        console.print(table)
        if (more := report.refused_count - SHOWN_REFUSALS) > 0:
            console.print(f"and {more:,} more")
    summary = f"{report.rows_read:,} rows read, {report.loaded:,} loaded, {report.already_there:,} already there"
    if report.refused_count:
        summary += f", {report.refused_count:,} refused"
    if report.refused_count and report.snapshot_id is None and not report.already_there:
        summary += ": nothing was loaded"
    console.print(Text(summary))
