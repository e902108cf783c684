"""Output of reads of the past: notes on what an answer contains, the history of a candle, and revisions."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ohlcv.cli.row_output import HEADINGS, cells, write_csv, write_json
from ohlcv.cli.terminal import new_table, note, print_table
from ohlcv.config.settings import load_settings
from ohlcv.model.intervals import format_duration, iso
from ohlcv.model.timeframes import Timeframe

if TYPE_CHECKING:
    import pyarrow as pa


def note_past(found: pa.Table) -> None:
    """Print which state of the table an answer shows, and what it leaves out."""
    from ohlcv.readers.point_in_time import AVAILABLE_FROM, KNOWN_UNTIL, SNAPSHOT, VISIBLE_AT

    said = {name.decode(): value.decode() for name, value in (found.schema.metadata or {}).items()}
    state = f"snapshot {said[SNAPSHOT]}" if SNAPSHOT in said else "the empty table"
    note(f"from {state}, which readers saw from {said[VISIBLE_AT]} on")
    if AVAILABLE_FROM in said:
        note(f"windows before {said[AVAILABLE_FROM]} are not known")
    if KNOWN_UNTIL in said:
        note(f"without what readers saw first at {said[KNOWN_UNTIL]} or later")


def show_history(timeframe: Timeframe, symbol: str, exchange: str, time: datetime, output_format: str) -> None:
    """Print the versions of a candle."""
    from ohlcv.readers.candle_history import read_candle_history

    history = read_candle_history(load_settings(), timeframe, symbol, exchange, time)
    found = history.versions
    if output_format == "csv":
        write_csv(found)
    elif output_format == "json":
        write_json(found)
    elif len(found):
        _print_history(found, f"{symbol} on {exchange}, {timeframe}, window start {iso(history.window_start)}")
    if not len(found):
        note(f"the ledger has no candle of this window: {iso(history.window_start)}")
    if history.known_until is not None:
        note(f"without publications from {iso(history.known_until)} on, which are not recorded yet")


def print_revisions(found: pa.Table) -> None:
    """Print revisions as a table."""
    table = new_table(
        "", ("publication",), "visible at", "symbol", "exchange", "window start", "change", "causes", ("late",),
        ("close before",), ("close after",), ("volume before",), ("volume after",), "run",
    )  # fmt: skip
    names = ("publication", "visible_at", "symbol", "exchange", "window_start", "change")
    values = ("before_close_price", "after_close_price", "before_volume", "after_volume")
    columns = [*(cells(found, name) for name in names), _causes(found), _lateness(found)]
    columns += [*(cells(found, name) for name in values), _runs(found)]
    for row in zip(*columns, strict=True):
        table.add_row(*row)
    print_table(table)


def _print_history(found: pa.Table, title: str) -> None:
    values = ("open_price", "high_price", "low_price", "close_price", "volume", "trade_count")
    table = new_table(
        title, ("publication",), "visible at", "change", "causes", ("late",), *((HEADINGS[name],) for name in values),
        "run",
    )  # fmt: skip
    columns = [*(cells(found, name) for name in ("publication", "visible_at", "change")), _causes(found)]
    columns += [_lateness(found), *(cells(found, name) for name in values), _runs(found)]
    for row in zip(*columns, strict=True):
        table.add_row(*row)
    print_table(table)


def _causes(found: pa.Table) -> list[str]:
    return [_cause_text(row) for row in found.select(["causes", "held_since", "waived"]).to_pylist()]


def _cause_text(row: dict[str, Any]) -> str:
    held = [f"held since {iso(row['held_since'])}"] if row["held_since"] is not None else []
    return ", ".join([*(row["causes"] or ()), *held, *(["waived"] if row["waived"] else [])]) or "-"


def _lateness(found: pa.Table) -> list[str]:
    times = found["lateness"].to_pylist()
    return ["-" if each is None else _late(timedelta(microseconds=each)) for each in times]


def _late(duration: timedelta) -> str:
    # A trade may arrive before the end of its window.
    return f"-{format_duration(-duration)}" if duration < timedelta(0) else format_duration(duration)


def _runs(found: pa.Table) -> list[str]:
    rows = found.select(["trigger", "dag_id", "run_id"]).to_pylist()
    return [f"{row['dag_id']} {row['run_id']}" if row["run_id"] else row["trigger"] for row in rows]
