"""`ohlcv candles`: show candles as a table, CSV or JSON."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

import click

from ohlcv.cli.options import END, EXCHANGE, ONE_TIMEFRAME, ROWS_FORMAT, START, SYMBOL
from ohlcv.cli.past_output import note_past, show_history
from ohlcv.cli.row_output import HEADINGS, cells, write_csv, write_json
from ohlcv.cli.terminal import note, parse_time_option, print_table
from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.timeframes import Timeframe

# pyiceberg, DuckDB and rich take seconds to import. Functions import them when needed, so that --help is fast.
if TYPE_CHECKING:
    import pyarrow as pa

# Default number of windows per series in a table: two series fit on a screen.
TABLE_LIMIT = 20
# Maximum number of symbols or exchanges listed in a message.
MAX_LISTED_NAMES = 20


@click.command()
@ONE_TIMEFRAME
@SYMBOL
@EXCHANGE
@START
@END
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
    "--measures",
    is_flag=True,
    help="Add quote volume, taker buy volumes and the times of the first and last trade; needs an extended table.",
)
@click.option("--as-of", "as_of_text", metavar="TIME", help="The candles that readers saw at this time.")
@click.option("--as-of-snapshot", type=click.IntRange(1), metavar="ID", help="The candles of this published snapshot.")
@click.option(
    "--vintage",
    metavar="V",
    help="first: each candle as first published; 5m (or s, h, d): as known 5 minutes after its window ended.",
)
@click.option(
    "--history",
    "history_text",
    metavar="TIME",
    help="The versions of the candle whose window contains this time; needs --symbol and --exchange.",
)
@ROWS_FORMAT
def candles(
    *,
    timeframe_name: str,
    symbol: str | None,
    exchange: str | None,
    start_text: str | None,
    end_text: str | None,
    limit: int | None,
    fill: str | None,
    measures: bool,
    as_of_text: str | None,
    as_of_snapshot: int | None,
    vintage: str | None,
    history_text: str | None,
    output_format: str,
) -> None:
    """Show the candles with --start <= window_start < --end.

    Without --start, the table format shows the newest 20 windows of each series; csv and json contain all windows.
    Without --start, the newest windows (--limit or the table format) are searched only for series that have a candle
    in the newest 31 partitions (days, or months for 1d).

    Numbers are exact. csv and json contain all 8 decimals, json as strings. The table format omits trailing zeros that
    all numbers of a column have, and columns that can be derived from others.

    --as-of, --as-of-snapshot and --vintage read the past from the ledger (docs/reading.md); --history shows when and
    why one candle changed.
    """
    settings = load_settings()
    timeframe = settings.timeframe(timeframe_name)
    past = {"--as-of": as_of_text, "--as-of-snapshot": as_of_snapshot, "--vintage": vintage, "--history": history_text}
    _check_past({name for name, value in past.items() if value is not None}, fill, measures)
    if history_text is not None:
        if symbol is None or exchange is None:
            raise InputError("--history needs --symbol and --exchange: add them")
        if start_text or end_text or limit:
            raise InputError("--history is of one window: remove --start, --end and --limit")
        show_history(timeframe, symbol, exchange, parse_time_option("--history", history_text), output_format)
        return
    as_of = None if as_of_text is None else parse_time_option("--as-of", as_of_text)
    start = None if start_text is None else parse_time_option("--start", start_text)
    end = None if end_text is None else parse_time_option("--end", end_text)
    newest = limit
    if start is None and limit is None:
        newest = TABLE_LIMIT if output_format == "table" else None
        note(
            f"no --start: the newest {TABLE_LIMIT} windows of each series"
            if output_format == "table"
            else "no --start: all candles"
        )

    if as_of is None and as_of_snapshot is None and vintage is None:
        from ohlcv.readers.candles import read_candles

        found = read_candles(
            settings,
            timeframe,
            symbol,
            exchange,
            start=start,
            end=end,
            newest=newest,
            fill="previous" if fill else None,
            measures=measures,
        )
    else:
        from ohlcv.readers.point_in_time import read_past_candles

        found = read_past_candles(
            settings,
            timeframe,
            symbol,
            exchange,
            start=start,
            end=end,
            newest=newest,
            as_of=as_of,
            as_of_snapshot=as_of_snapshot,
            vintage=vintage,
        )
        note_past(found)
    if output_format == "csv":
        write_csv(found)
    elif output_format == "json":
        write_json(found)
    elif len(found):
        _print_table(found)
    if not len(found) and not found.schema.metadata:
        note(_explain_empty_result(settings, timeframe, symbol, exchange, start))


def _check_past(given: set[str], fill: str | None, measures: bool) -> None:
    if len(given) > 1:
        raise InputError(f"{' and '.join(sorted(given))} cannot be combined: give one of them")
    if given and fill:
        raise InputError(f"{given.pop()} cannot be combined with --fill: remove one of them")
    if given and measures:
        raise InputError(
            f"{given.pop()} cannot be combined with --measures, which the ledger does not record: remove one of them"
        )


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


def _print_table(found: pa.Table) -> None:
    from rich import box
    from rich.table import Table

    # Without the columns that can be derived from these, and without created_at and updated_at.
    columns = {name: cells(found, name) for name in HEADINGS if name in found.column_names}
    table = Table(box=box.SIMPLE)
    for name in columns:
        is_text = name in ("symbol", "exchange", "window_start", "filled", "fill_reason")
        table.add_column(HEADINGS[name], justify="left" if is_text else "right", no_wrap=True)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    print_table(table)
