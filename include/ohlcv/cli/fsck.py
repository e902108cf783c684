"""`ohlcv fsck`: read the tables completely and report damaged files."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ohlcv.cli.options import TIMEFRAME_NAMES
from ohlcv.cli.terminal import echo, new_table, note, parse_time_option, print_table, report_of, show_progress
from ohlcv.config.settings import load_settings
from ohlcv.model.errors import InputError

if TYPE_CHECKING:
    from ohlcv.integrity.findings import TableCheck

# Damaged files that are listed of a table. JSON has all.
MAX_LISTED = 20


@click.command()
@click.option("--table", "tables", multiple=True, metavar="NAME", help="Check this table. May be repeated.")
@click.option(
    "--timeframe",
    "timeframes",
    multiple=True,
    metavar="T",
    help=f"Check the candles of {TIMEFRAME_NAMES}. May be repeated.",
)
@click.option("--trades", is_flag=True, help="Check the trades.")
@click.option(
    "--since",
    "since_text",
    metavar="TIME",
    help="Read only data files that were committed at or after this time; of others check existence and size.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line and table.")
def fsck(
    *, tables: tuple[str, ...], timeframes: tuple[str, ...], trades: bool, since_text: str | None, as_json: bool
) -> int:
    """Check the files of the tables for damage: of all tables, unless some are chosen. Nothing is changed.

    Reads the catalog file, the metadata, manifests and data files completely; compares checksums of pages, rows,
    bounds and partitions. Of earlier states, existence and size of files are checked. Each damaged file is shown with
    its repair. The exit code is 1 if there is one that the current state needs.
    """
    settings = load_settings()
    since = None if since_text is None else parse_time_option("--since", since_text)
    if since is not None and since > datetime.now(UTC):
        raise InputError(f"--since {since_text} is in the future: give an earlier time")

    from ohlcv.integrity.check import Selection, check_tables

    chosen = Selection(tables, timeframes, trades).choose(settings)
    reports: list[TableCheck] = []
    with show_progress("checking", quiet=as_json) as progress:
        for report in check_tables(settings, chosen, since, progress):
            reports.append(report)
            if as_json:
                click.echo(json.dumps(report.to_json()))
    if not as_json:
        with report_of("the tables are checked"):
            _print(reports)
    return 1 if any(report.is_damaged for report in reports) else 0


def _print(reports: list[TableCheck]) -> None:
    numbers = ("snapshots", "manifests", "files", "files read", "rows", "MiB", "damaged", "seconds")
    table = new_table("Checked files", "table", *((name,) for name in numbers))
    for each in reports:
        counts = (each.snapshots, each.manifests, each.files, each.files_read, each.rows)
        table.add_row(
            each.table,
            *(f"{count:,}" for count in counts),
            f"{each.bytes_read / 2**20:,.1f}",
            f"{len(each.damages):,}",
            f"{each.seconds:.1f}",
        )
    print_table(table)
    for each in reports:
        for damage in each.damages[:MAX_LISTED]:
            echo(f"damaged: {each.table}: {damage.line}")
        if len(each.damages) > MAX_LISTED:
            note(f"{each.table}: {len(each.damages) - MAX_LISTED:,} more damaged files: use --json")
        if each.without_checksums:
            note(f"{each.table}: {each.without_checksums:,} files have no checksums: a changed value can be missed")
