"""`ohlcv revisions`: show which candles changed, with their values before and after."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING, get_args

import click

from ohlcv.cli.options import END, EXCHANGE, ONE_TIMEFRAME, ROWS_FORMAT, START, SYMBOL
from ohlcv.cli.past_output import print_revisions
from ohlcv.cli.row_output import write_csv, write_json, write_json_lines
from ohlcv.cli.terminal import note, parse_time_option
from ohlcv.config.settings import load_settings
from ohlcv.model.ledger_records import Cause

if TYPE_CHECKING:
    import pyarrow as pa

# The ledger records every hour, or when someone records by command.
FOLLOW_SECONDS = 10.0


@click.command()
@ONE_TIMEFRAME
@SYMBOL
@EXCHANGE
@START
@END
@click.option("--cause", type=click.Choice(get_args(Cause)), help="Only changes with this cause.")
@click.option("--since", type=int, metavar="NUMBER", help="Only publications after this one.  [default: all recorded]")
@click.option("--insertions", is_flag=True, help="Also new candles.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000_000),
    metavar="N",
    help="End after the publication that contains the N-th revision.",
)
@click.option("--follow", is_flag=True, help="Wait for further publications until Ctrl-C.")
@ROWS_FORMAT
def revisions(
    *,
    timeframe_name: str,
    symbol: str | None,
    exchange: str | None,
    start_text: str | None,
    end_text: str | None,
    cause: str | None,
    since: int | None,
    insertions: bool,
    limit: int | None,
    follow: bool,
    output_format: str,
) -> None:
    """Show the candles that publications changed or deleted, in the order of the publications.

    To update a copy of the candles, use --insertions, and replace or delete each candle by its key (symbol, exchange,
    window start). A note names the NUMBER for --since of the next call.

    csv and json contain all columns of a candle before and after, and lateness in microseconds. With --follow, json is
    one object per line.
    """
    settings = load_settings()
    timeframe = settings.timeframe(timeframe_name)
    start = None if start_text is None else parse_time_option("--start", start_text)
    end = None if end_text is None else parse_time_option("--end", end_text)
    if follow and limit is not None:
        raise click.UsageError("--follow and --limit cannot be combined: give one of them")

    from ohlcv.readers.revisions import FeedQuery, follow_feed, read_revisions

    query = FeedQuery(since, symbol, exchange, start, end, cause, insertions)
    if not follow:
        found, next_since = read_revisions(settings, timeframe, query, limit)
        _write(found, output_format)
        note(f"{len(found):,} revisions: continue with --since {next_since}")
        return
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    is_first = True
    for found in follow_feed(settings, timeframe, query, stopped.wait, FOLLOW_SECONDS):
        _write_part(found, output_format, is_first)
        is_first = False


def _write(found: pa.Table, output_format: str) -> None:
    if output_format == "csv":
        write_csv(found)
    elif output_format == "json":
        write_json(found)
    elif len(found):
        print_revisions(found)


def _write_part(found: pa.Table, output_format: str, is_first: bool) -> None:
    if output_format == "csv":
        write_csv(found, header=is_first)
    elif output_format == "json":
        write_json_lines(found)
    elif len(found):
        print_revisions(found)
    sys.stdout.flush()
