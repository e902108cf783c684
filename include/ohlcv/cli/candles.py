"""`ohlcv candles`: show candles as a table, as CSV or as JSON."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from ohlcv.cli.terminal import print_table
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.intervals import iso, parse_time
from ohlcv.model.timeframes import TIMEFRAMES, Timeframe, get_timeframe

# pyiceberg, DuckDB and rich take seconds to load: only the functions that use them do, so that --help is quick.
if TYPE_CHECKING:
    import pyarrow as pa

# As many windows of a series as fit on a screen beside another series.
TABLE_LIMIT = 20
# As many names as a person reads in one line.
NAMES_SHOWN = 20

# What of a candle the table shows: the other columns follow from these, or are for machines.
TABLE_HEADINGS = {
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
    "filled": "filled",
}

Row = Mapping[str, Any]


@click.command()
@click.option("--timeframe", "timeframe_name", required=True, metavar="T", help=f"One of {', '.join(TIMEFRAMES)}.")
@click.option("--symbol", metavar="S", help="Only this symbol.")
@click.option("--exchange", metavar="E", help="Only this exchange.")
@click.option("--start", "start_text", metavar="TIME", help="First window start, an ISO time; UTC if it names no zone.")
@click.option("--end", "end_text", metavar="TIME", help="Window starts end before this ISO time.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N windows of each series.")
@click.option(
    "--fill",
    type=click.Choice(["previous"]),
    help="Show windows without trades at the previous close: volume 0, no vwap, filled. With --end, up to there.",
)
@click.option(
    "--format", "output_format", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True
)
def candles(
    *,
    timeframe_name: str,
    symbol: str | None,
    exchange: str | None,
    start_text: str | None,
    end_text: str | None,
    limit: int | None,
    fill: str | None,
    output_format: str,
) -> None:
    """Show candles: window starts from --start up to, not including, --end.

    Without --start, the table shows the newest 20 windows of each series, a symbol on an exchange; csv and json
    give all. The newest windows (this table, or --limit without --start) are those of series with a candle in the
    newest 31 partitions: days, or months for 1d.

    Numbers are exact. csv and json write all 8 decimals, json as strings. The table leaves out the trailing zeros
    that all numbers of a column share, and the columns that follow from others.
    """
    of = get_timeframe(timeframe_name)
    start = _time("--start", start_text)
    end = _time("--end", end_text)
    settings = load_settings()
    newest = limit
    if start is None and limit is None:
        newest = TABLE_LIMIT if output_format == "table" else None
        _note(
            f"no --start: the newest {TABLE_LIMIT} windows of each series"
            if output_format == "table"
            else "no --start: all candles there are"
        )

    from ohlcv.readers.candles import read_candles

    # click's choice names the one value that the reader's type allows.
    found = read_candles(
        settings, of, symbol, exchange, start=start, end=end, newest=newest, fill="previous" if fill else None
    )
    if output_format == "csv":
        _write_csv(found)
    elif output_format == "json":
        _write_json(found)
    elif len(found):
        _print_table(found)
    if not len(found):
        _note(_why_nothing(settings, of, symbol, exchange, start))


def _time(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    time, without_zone = parse_time(text)
    if without_zone:
        _note(f"{option} {text} names no zone: taken as UTC")
    return time


def _note(text: str) -> None:
    click.echo(text, err=True)


def _why_nothing(
    settings: Settings, of: Timeframe, symbol: str | None, exchange: str | None, start: datetime | None
) -> str:
    from ohlcv.readers.latest import LOOKBACK_PARTITIONS, recent_series

    series = recent_series(settings, of)
    if not series:
        return f"no candles: the {of} table is empty"
    recent = f"the newest {LOOKBACK_PARTITIONS} {of.partition}s with candles"
    further = "" if start else "; --start looks further back"
    symbols, exchanges = ({pair[position] for pair in series} for position in (0, 1))
    if symbol is not None and symbol not in symbols:
        return f"no {of} candles of symbol '{symbol}': {recent} have {_names(symbols)}{further}"
    if exchange is not None and exchange not in exchanges:
        return f"no {of} candles of exchange '{exchange}': {recent} have {_names(exchanges)}{further}"
    if symbol is not None and exchange is not None and (symbol, exchange) not in series:
        having = {place for name, place in series if name == symbol}
        return f"no {of} candles of {symbol} on {exchange}: {recent} have it on {_names(having)}{further}"
    return f"no {of} candles in that range"


def _names(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = len(ordered) - NAMES_SHOWN
    return ", ".join(ordered[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _rows(found: pa.Table) -> Iterator[Row]:
    # Batch by batch: as Python objects, all candles of a table would need gigabytes.
    for batch in found.to_batches(max_chunksize=10_000):
        yield from batch.to_pylist()


def _plain(value: Any) -> Any:
    """Give a value as JSON takes it, exactly: decimals with all their places, times in UTC."""
    if isinstance(value, Decimal):
        return format(value, "f")  # str() would write the smallest ones as 1E-8
    if isinstance(value, datetime):
        return iso(value)
    return value.isoformat() if isinstance(value, date) else value


def _write_csv(found: pa.Table) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(found.column_names)
    for row in _rows(found):
        values = (_plain(value) for value in row.values())
        writer.writerow(str(value).lower() if isinstance(value, bool) else value for value in values)


def _write_json(found: pa.Table) -> None:
    # One candle a line, written as it is read.
    separator = "[\n"
    for row in _rows(found):
        click.echo(separator + json.dumps({name: _plain(value) for name, value in row.items()}), nl=False)
        separator = ",\n"
    click.echo("\n]" if len(found) else "[]")


def _print_table(found: pa.Table) -> None:
    from rich import box
    from rich.table import Table

    columns = {name: _cells(found, name) for name in TABLE_HEADINGS if name in found.column_names}
    table = Table(box=box.SIMPLE)
    for name in columns:
        text = name in ("symbol", "exchange", "window_start", "filled")
        table.add_column(TABLE_HEADINGS[name], justify="left" if text else "right", no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    print_table(table)


def _cells(found: pa.Table, name: str) -> list[str]:
    values = found[name].to_pylist()
    if name == "filled":
        return ["yes" if value else "" for value in values]
    texts = ["-" if value is None else str(_plain(value)) for value in values]
    return _without_shared_zeros(texts) if any(isinstance(value, Decimal) for value in values) else texts


def _without_shared_zeros(texts: list[str]) -> list[str]:
    """Cut all numbers to the places the longest one needs, so that their points stay in line."""
    places = max(len(text.partition(".")[2].rstrip("0")) for text in texts)
    return [
        text if text == "-" else f"{whole}.{fraction[:places]}".rstrip(".")
        for text in texts
        for whole, _, fraction in [text.partition(".")]
    ]
