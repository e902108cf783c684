"""`ohlcv reconcile`: compare our candles with those that an exchange published."""

from __future__ import annotations

import csv
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ohlcv.cli.options import ROWS_OUTPUT
from ohlcv.cli.terminal import new_table, note, parse_time_option, print_table, report_of, show_progress
from ohlcv.config.settings import load_settings
from ohlcv.model.intervals import from_microseconds, iso
from ohlcv.model.timeframes import TIMEFRAMES
from ohlcv.model.tolerances import parse_tolerances

if TYPE_CHECKING:
    from ohlcv.reconciliation.report import Reconciliation

# Lines of a table for people. CSV and JSON have all.
MAX_LINES = 200


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--format", "format_name", required=True, metavar="F", help="binance-klines, kraken-ohlc or generic.")
@click.option("--exchange", required=True, metavar="E", help="Exchange of our candles.")
@click.option("--symbol", required=True, metavar="S", help="Symbol of our candles.")
@click.option(
    "--timeframe",
    "timeframe_name",
    metavar="T",
    help=f"One of {', '.join(TIMEFRAMES)}; klines contain their own.",
)
@click.option(
    "--tolerance",
    "tolerances",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Permitted difference: close=0.01, close=2ticks or volume=0.1%. May be repeated.  [default: equal]",
)
@click.option("--tick", metavar="X", help="Size of a tick, such as 0.01.")
@click.option(
    "--fetched-at", "fetched_text", metavar="TIME", help="When the files were fetched.  [default: when modified]"
)
@click.option("--strict", is_flag=True, help="Exit code 1 also for differences that a convention explains.")
@ROWS_OUTPUT
def reconcile(
    *,
    files: tuple[str, ...],
    format_name: str,
    exchange: str,
    symbol: str,
    timeframe_name: str | None,
    tolerances: tuple[str, ...],
    tick: str | None,
    fetched_text: str | None,
    strict: bool,
    output_format: str,
) -> int:
    """Compare our candles with files of published ones, and store the results in gold_ohlcv_reconciliation.

    Each difference has the conventions of the exchange that explain it, or evidence from the coverage of the trades.
    The exit code is 1 if a difference is beyond the tolerances and not explained, 2 if a file is invalid; then nothing
    is stored. csv and json contain all differences.
    """
    settings = load_settings()
    parsed = parse_tolerances("--tolerance", tolerances, tick)
    fetched_at = None if fetched_text is None else parse_time_option("--fetched-at", fetched_text)
    timeframe = None if timeframe_name is None else settings.timeframe(timeframe_name)

    from ohlcv.reconciliation.reconcile import Request
    from ohlcv.reconciliation.reconcile import reconcile as run

    request = Request(format_name, exchange, symbol, timeframe, parsed, fetched_at)
    with show_progress("reconciling", quiet=output_format != "table") as progress:
        found = run(settings, [Path(each) for each in files], request, datetime.now(UTC), report_progress=progress)
    with report_of("the results are stored"):
        if output_format == "json":
            click.echo(json.dumps(found.to_json()))
        elif output_format == "csv":
            _write_csv(found)
        else:
            _print(found)
    for text in found.notes:
        note(text)
    return 0 if found.is_clean(strict) else 1


def _write_csv(found: Reconciliation) -> None:
    from ohlcv.reconciliation.report import LINE_COLUMNS

    writer = csv.DictWriter(sys.stdout, LINE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found.lines())


def _print(found: Reconciliation) -> None:
    counts = new_table(found.series, "from", "until", *((name,) for name in found.counts), ("changed results",))
    spans = found.results.spans
    counts.add_row(
        iso(from_microseconds(spans[0][0])),
        iso(from_microseconds(spans[-1][1])),
        *(f"{count:,}" for count in found.counts.values()),
        f"{found.written:,}",
    )
    print_table(counts)
    for name, count in found.conventions.items():
        note(f"{count:,} differences explained: {name}")
    if found.within_tolerance:
        note(f"{found.within_tolerance:,} of the equal windows differ within the tolerances")
    lines = [line for line in found.lines() if line["result"] != "explained"]
    if not lines:
        return
    columns = ("window_start", "result", "field", "ours", "theirs", "difference", "tolerance", "convention", "evidence")
    headings = [(name,) if name in ("ours", "theirs", "difference", "tolerance") else name for name in columns]
    differences = new_table("Differences", *("window start" if each == "window_start" else each for each in headings))
    for line in lines[:MAX_LINES]:
        differences.add_row(*(str(line[name]) or "-" for name in columns))
    print_table(differences)
    if len(lines) > MAX_LINES:
        note(f"{len(lines) - MAX_LINES:,} more lines: use --output csv or json")
