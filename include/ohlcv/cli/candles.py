"""`ohlcv candles`: show candles as a table, CSV or JSON."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from ohlcv.cli.terminal import note, parse_time_option, print_table
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.intervals import iso
from ohlcv.model.timeframes import TIMEFRAMES, Timeframe, get_timeframe

# pyiceberg, DuckDB and rich take seconds to import. Functions import them when needed, so that --help is fast.
if TYPE_CHECKING:
    import pyarrow as pa

# Default number of windows per series in a table: two series fit on a screen.
TABLE_LIMIT = 20
# Maximum number of symbols or exchanges listed in a message.
MAX_LISTED_NAMES = 20

# Column -> heading. The table omits columns that can be derived from these, and created_at and updated_at.
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
@click.option(
    "--start", "start_text", metavar="TIME", help="First window start, an ISO time; UTC if it has no time zone."
)
@click.option("--end", "end_text", metavar="TIME", help="End of the range of window starts (exclusive), an ISO time.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000_000),
    metavar="N",
    help="Only the newest N windows of each series (symbol and exchange).",
)
@click.option(
    "--fill",
    type=click.Choice(["previous"]),
    help="Add windows without trades, with the previous close, volume 0 and no vwap; with --end, up to that time.",
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
    """Show the candles with --start <= window_start < --end.

    Without --start, the table format shows the newest 20 windows of each series; csv and json contain all windows.
    Without --start, the newest windows (--limit or the table format) are searched only for series that have a candle
    in the newest 31 partitions (days, or months for 1d).

    Numbers are exact. csv and json contain all 8 decimals, json as strings. The table format omits trailing zeros that
    all numbers of a column have, and columns that can be derived from others.
    """
    timeframe = get_timeframe(timeframe_name)
    start = None if start_text is None else parse_time_option("--start", start_text)
    end = None if end_text is None else parse_time_option("--end", end_text)
    settings = load_settings()
    newest = limit
    if start is None and limit is None:
        newest = TABLE_LIMIT if output_format == "table" else None
        note(
            f"no --start: the newest {TABLE_LIMIT} windows of each series"
            if output_format == "table"
            else "no --start: all candles"
        )

    from ohlcv.readers.candles import read_candles

    found = read_candles(
        settings, timeframe, symbol, exchange, start=start, end=end, newest=newest, fill="previous" if fill else None
    )
    if output_format == "csv":
        _write_csv(found)
    elif output_format == "json":
        _write_json(found)
    elif len(found):
        _print_table(found)
    if not len(found):
        note(_explain_empty_result(settings, timeframe, symbol, exchange, start))


def _explain_empty_result(
    settings: Settings, timeframe: Timeframe, symbol: str | None, exchange: str | None, start: datetime | None
) -> str:
    from ohlcv.readers.latest import LOOKBACK_PARTITIONS, recent_series

    series = recent_series(settings, timeframe)
    if not series:
        return f"no candles: the {timeframe} table is empty"
    recent = f"the newest {LOOKBACK_PARTITIONS} {timeframe.partition}s with candles"
    hint = "" if start else " (use --start to search older candles)"
    symbols, exchanges = ({pair[position] for pair in series} for position in (0, 1))
    if symbol is not None and symbol not in symbols:
        return f"no {timeframe} candles of symbol '{symbol}': {recent} contain {_list_names(symbols)}{hint}"
    if exchange is not None and exchange not in exchanges:
        return f"no {timeframe} candles of exchange '{exchange}': {recent} contain {_list_names(exchanges)}{hint}"
    if symbol is not None and exchange is not None and (symbol, exchange) not in series:
        available = {venue for name, venue in series if name == symbol}
        return (
            f"no {timeframe} candles of {symbol} on {exchange}: {recent} contain it on {_list_names(available)}{hint}"
        )
    return f"no {timeframe} candles in that range"


def _list_names(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = len(ordered) - MAX_LISTED_NAMES
    return ", ".join(ordered[:MAX_LISTED_NAMES]) + (f" and {more} more" if more > 0 else "")


def _rows(found: pa.Table) -> Iterator[Row]:
    # In batches: all candles of a table as Python objects would need gigabytes.
    for batch in found.to_batches(max_chunksize=10_000):
        yield from batch.to_pylist()


def _to_json_value(value: Any) -> Any:
    """Return a value without loss as a JSON type: decimals as text with all decimal places, times in UTC."""
    if isinstance(value, Decimal):
        return format(value, "f")  # str() would return 1E-8 for the smallest values
    if isinstance(value, datetime):
        return iso(value)
    return value.isoformat() if isinstance(value, date) else value


def _write_csv(found: pa.Table) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(found.column_names)
    for row in _rows(found):
        values = (_to_json_value(value) for value in row.values())
        writer.writerow(str(value).lower() if isinstance(value, bool) else value for value in values)


def _write_json(found: pa.Table) -> None:
    # One candle per line, so that the output is streamed.
    separator = "[\n"
    for row in _rows(found):
        click.echo(separator + json.dumps({name: _to_json_value(value) for name, value in row.items()}), nl=False)
        separator = ",\n"
    click.echo("\n]" if len(found) else "[]")


def _print_table(found: pa.Table) -> None:
    from rich import box
    from rich.table import Table

    columns = {name: _cells(found, name) for name in TABLE_HEADINGS if name in found.column_names}
    table = Table(box=box.SIMPLE)
    for name in columns:
        is_text = name in ("symbol", "exchange", "window_start", "filled")
        table.add_column(TABLE_HEADINGS[name], justify="left" if is_text else "right", no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    print_table(table)


def _cells(found: pa.Table, name: str) -> list[str]:
    values = found[name].to_pylist()
    if name == "filled":
        return ["yes" if value else "" for value in values]
    texts = ["-" if value is None else str(_to_json_value(value)) for value in values]
    return _without_shared_zeros(texts) if any(isinstance(value, Decimal) for value in values) else texts


def _without_shared_zeros(texts: list[str]) -> list[str]:
    """Return the numbers with as many decimal places as the longest one needs, so that decimal points align."""
    places = max(len(text.partition(".")[2].rstrip("0")) for text in texts)
    return [
        text if text == "-" else f"{whole}.{fraction[:places]}".rstrip(".")
        for text in texts
        for whole, _, fraction in [text.partition(".")]
    ]
