"""`ohlcv coverage note`: record, list and withdraw notes on the coverage."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import get_args

import click

from ohlcv.cli.options import EXCHANGE, SYMBOL, TABLE_OR_JSON
from ohlcv.cli.terminal import echo, new_table, parse_time_option, print_table
from ohlcv.config.settings import load_settings
from ohlcv.model.coverage_records import Note, NoteKind
from ohlcv.model.intervals import iso
from ohlcv.readers.texts import json_row

_AUTHOR = click.option("--author", required=True, metavar="NAME", help="Who knows it.")


@click.group()
def note() -> None:
    """Record what a person knows of the trades of a series or of a whole exchange. States show it."""


@note.command()
@click.option("--kind", required=True, type=click.Choice(get_args(NoteKind)), help="expected: trades must come.")
@click.option("--exchange", required=True, metavar="E", help="Of this exchange.")
@click.option("--symbol", metavar="S", help="Of this symbol.  [default: all of the exchange]")
@click.option("--start", "start_text", required=True, metavar="TIME", help="Since when.")
@click.option("--end", "end_text", metavar="TIME", help="Until when (exclusive).  [default: it has not ended]")
@_AUTHOR
@click.option("--reason", required=True, metavar="TEXT", help="What happened, and how it is known.")
def add(
    *,
    kind: NoteKind,
    exchange: str,
    symbol: str | None,
    start_text: str,
    end_text: str | None,
    author: str,
    reason: str,
) -> None:
    """Record a note and print its id.

    A halt, outage or delisting explains missing trades; after a delisting none are expected. A series of a note of kind
    expected is reported as silent without ever having had a trade.
    """
    from ohlcv.coverage.notes import NoteRequest, record_note

    start = parse_time_option("--start", start_text)
    end = None if end_text is None else parse_time_option("--end", end_text)
    request = NoteRequest(kind, exchange, symbol, start, end, author, reason)
    click.echo(record_note(load_settings(), request, datetime.now(UTC)).note)


@note.command("list")
@EXCHANGE
@SYMBOL
@click.option("--all", "with_withdrawn", is_flag=True, help="Also withdrawn notes.")
@TABLE_OR_JSON
def list_notes(*, exchange: str | None, symbol: str | None, with_withdrawn: bool, output_format: str) -> None:
    """Show the notes, the oldest first. JSON is one object per line."""
    from ohlcv.iceberg.tables import open_catalog
    from ohlcv.readers.coverage_notes import read_notes

    settings = load_settings()
    found = [
        each
        for each in read_notes(settings, open_catalog(settings), with_withdrawn)
        if exchange in (None, each.exchange) and (symbol is None or each.symbol in (None, symbol))
    ]
    if output_format == "json":
        for each in found:
            click.echo(json.dumps(json_row(asdict(each))))
    else:
        _print(found, with_withdrawn)


@note.command()
@click.argument("note_id", metavar="NOTE")
@_AUTHOR
def withdraw(note_id: str, author: str) -> None:
    """Withdraw a note: no state shows it any more. It stays in the table."""
    from ohlcv.coverage.notes import withdraw_note

    withdraw_note(load_settings(), note_id, author, datetime.now(UTC))
    echo(f"note {note_id} is withdrawn")


def _print(notes: list[Note], with_withdrawn: bool) -> None:
    withdrawn = ("withdrawn",) if with_withdrawn else ()
    table = new_table("Notes", "note", "kind", "exchange", "symbol", "start", "end", "author", "reason", *withdrawn)
    for each in notes:
        cells = [each.note, each.kind, each.exchange, each.symbol or "all", iso(each.start_time)]
        cells += ["-" if each.end_time is None else iso(each.end_time), each.author, each.reason]
        if with_withdrawn:
            cells.append("-" if each.withdrawn_at is None else f"{iso(each.withdrawn_at)} by {each.withdrawn_by}")
        table.add_row(*cells)
    print_table(table)
