"""Rows of candles and revisions on stdout: CSV, JSON, and the cells of tables."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from ohlcv.readers.texts import csv_value, json_row, json_value

if TYPE_CHECKING:
    import pyarrow as pa

Row = Mapping[str, Any]

# Column of a candle -> heading of a table for people.
HEADINGS = {
    "symbol": "symbol",
    "exchange": "exchange",
    "window_start": "window start",
    "open_price": "open",
    "high_price": "high",
    "low_price": "low",
    "close_price": "close",
    "volume": "volume",
    "trade_count": "trades",
    "vwap": "vwap",
    "quote_volume": "quote volume",
    "taker_buy_volume": "taker buy",
    "taker_buy_quote_volume": "taker buy quote",
    "first_trade_at": "first trade",
    "last_trade_at": "last trade",
    "filled": "filled",
    "fill_reason": "reason",
}


def rows_of(found: pa.Table) -> Iterator[Row]:
    """Yield the rows of a table."""
    # In batches: all candles of a table as Python objects would need gigabytes.
    for batch in found.to_batches(max_chunksize=10_000):
        yield from batch.to_pylist()


def write_csv(found: pa.Table, header: bool = True) -> None:
    """Write a table as CSV."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if header:
        writer.writerow(found.column_names)
    for row in rows_of(found):
        writer.writerow([csv_value(value) for value in row.values()])


def write_json(found: pa.Table) -> None:
    """Write a table as a JSON array."""
    # One row per line, so that the output is streamed.
    separator = "[\n"
    for row in rows_of(found):
        click.echo(separator + json.dumps(json_row(row)), nl=False)
        separator = ",\n"
    click.echo("\n]" if len(found) else "[]")


def write_json_lines(found: pa.Table) -> None:
    """Write one JSON object per row and line."""
    for row in rows_of(found):
        click.echo(json.dumps(json_row(row)))


def cells(found: pa.Table, name: str) -> list[str]:
    """Return the values of a column as cells of a table for people."""
    values = found[name].to_pylist()
    if name == "filled":
        return ["yes" if value else "" for value in values]
    if name == "fill_reason":
        return [value or "" for value in values]
    texts = ["-" if value is None else str(json_value(value)) for value in values]
    return _without_shared_zeros(texts) if any(isinstance(value, Decimal) for value in values) else texts


def _without_shared_zeros(texts: list[str]) -> list[str]:
    """Return the numbers with as many decimal places as the longest one needs, so that decimal points align."""
    places = max(len(text.partition(".")[2].rstrip("0")) for text in texts)
    return [
        text if text == "-" else f"{whole}.{fraction[:places]}".rstrip(".")
        for text in texts
        for whole, _, fraction in [text.partition(".")]
    ]
