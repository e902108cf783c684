"""The prepared home of the cases: tables with trades and their candles, and the state of its trades table.

Functions that open the catalog run in a forked child (`in_child`): the server itself starts no thread and opens no
database, so that the commands forked from it start as a new process does.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.ingest.loader import load_trades
from ohlcv.model.intervals import MICROSECOND
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES, get_timeframe
from support.candle_rows import CREATED_AT, table_row, write_candles
from support.default_tables import NAMESPACE, TRADES, TRADES_TABLE
from support.reference_model import TRADE_COLUMNS, Candle, Trade, reference_candles
from support.trade_files import HEADER, HOUR, NOON, write_lines

DAY = 24 * HOUR
# Two loads of this number of trades.
PREPARED_ROWS = 120
# Files of SQLite that exist only while a connection is open.
CONNECTION_FILES = ("-wal", "-shm", "-journal")


@dataclass(frozen=True)
class TableState:
    """Rows of the trades table, and the commits that its metadata lists."""

    rows: int
    distinct_messages: int
    commits: int


def in_child(function: Callable[[], Any]) -> Any:
    """Return the JSON value that a function returns in a forked child; raise an error with its message if it fails."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            result = {"value": function()}
        except BaseException as error:
            result = {"error": f"{type(error).__name__}: {error}"}
        with suppress(OSError), os.fdopen(writer, "w") as pipe:
            json.dump(result, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    if not text:
        raise RuntimeError("the child process died")
    result = json.loads(text)
    if "error" in result:
        raise RuntimeError(result["error"])
    return result["value"]


def prepare(home: Path) -> None:
    """Create the tables in a home, with two loads of trades and the candles of all timeframes."""
    settings = load_settings({"OHLCV_HOME": str(home)})
    create_tables(settings)
    for part in range(2):
        file = write_lines(
            home / "trades.csv", HEADER, *(_trade_line(part * PREPARED_ROWS + n) for n in range(PREPARED_ROWS))
        )
        assert load_trades(settings, [file]).loaded == PREPARED_ROWS
        file.unlink()
    _write_reference_candles(settings)


def _trade_line(number: int) -> str:
    symbol = ("BTC-USD", "ETH-USD")[number % 2]
    return f"acme,{symbol},{NOON + number * 29_000_000},{84_000 + number % 17}.5,0.{1 + number % 9},prepared-{number}"


def _write_reference_candles(settings: Settings) -> None:
    table = load_table(open_catalog(settings), TRADES)
    trades = [Trade(**{name: row[name] for name in TRADE_COLUMNS}) for row in table.scan().to_arrow().to_pylist()]
    for name in DEFAULT_TIMEFRAMES:
        timeframe = get_timeframe(name)
        length = timeframe.length // MICROSECOND
        day = (NOON // DAY * DAY, NOON // DAY * DAY + DAY)
        candles = reference_candles(trades, length, [day]).candles.values()
        write_candles(settings, timeframe, *(_candle_row(candle) for candle in candles))


def _candle_row(candle: Candle) -> dict[str, Any]:
    row = table_row(candle)
    return {
        **row,
        "window_date": row["window_start"].date(),
        "created_at": CREATED_AT,
        "updated_at": CREATED_AT + timedelta(minutes=1),
    }


def restore(pristine: Path, home: Path) -> None:
    """Replace a home by the prepared one."""
    remove(home)
    shutil.copytree(pristine, home, symlinks=True)


def remove(folder: Path) -> None:
    """Delete a folder, also if a case took permissions away."""
    if not folder.exists():
        return
    for path, _, _ in os.walk(folder):
        os.chmod(path, 0o700)
    shutil.rmtree(folder)


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and modification time of all files below a folder."""
    found = {}
    for path, _, names in os.walk(folder):
        for name in names:
            if not name.endswith(CONNECTION_FILES):
                file = os.path.join(path, name)
                status = os.lstat(file)
                found[os.path.relpath(file, folder)] = (status.st_size, status.st_mtime_ns)
    return found


def data_folder() -> str:
    """Return the folder of the trades table's data files, relative to a home."""
    return f"warehouse/{NAMESPACE}/{TRADES_TABLE}/data"


def read_state(home: Path) -> TableState:
    """Read the whole trades table of a home."""

    def read() -> tuple[int, int, int]:
        table = load_table(open_catalog(load_settings({"OHLCV_HOME": str(home)})), TRADES)
        rows = table.scan().to_arrow()
        messages = rows.select(["message_id", "exchange", "symbol", "exchange_date", "exchange_hour"])
        distinct = messages.group_by(messages.column_names).aggregate([]).num_rows
        return len(rows), distinct, len(table.metadata.metadata_log)

    return TableState(*in_child(read))
