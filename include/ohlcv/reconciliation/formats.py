"""Readers of published candles: klines of Binance, OHLC and OHLCVT of Kraken, and a generic CSV file.

The files may be compressed by gzip or zip.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ohlcv.ingest.file_readers import LINE, PROBLEM, CsvFile, is_parquet, open_csv, read_all, read_csv
from ohlcv.model.errors import InputError
from ohlcv.model.timeframes import Timeframe
from ohlcv.reconciliation.published import AMOUNTS, CLOSE_TIME, COUNT, START, VWAP, PublishedFile, Texts, check_texts

# Columns of a kline by the names of data.binance.vision.
_KLINE = {
    "open_time": START,
    "open": "open",
    "high": "high",
    "low": "low",
    "close": "close",
    "volume": "volume",
    "close_time": CLOSE_TIME,
    "quote_volume": "quote_volume",
    "count": COUNT,
    "taker_buy_volume": "taker_buy_volume",
    "taker_buy_quote_volume": "taker_buy_quote_volume",
    "ignore": "ignore",
}
_OHLC = [START, *AMOUNTS[:4], VWAP, "volume", COUNT]
_OHLCVT = [START, *AMOUNTS, COUNT]
# No amount has a larger one; it would be a long text.
_EXPONENT = re.compile("[eE][+-]?0*[0-9]{1,2}$")
_GENERIC_OPTIONAL = (COUNT, VWAP)
_KLINE_UNITS = ("milliseconds", "microseconds")
_OHLC_UNITS = ("seconds",)
_GENERIC_UNITS = ("seconds", "milliseconds", "microseconds", "ISO")


@dataclass(frozen=True)
class Format:
    """A format of published candles."""

    read: Callable[[Path], Texts]
    # None: the exchange.
    venue: str | None


def read_published(path: Path, format_name: str, timeframe: Timeframe | None) -> PublishedFile:
    """Return the candles of a file. Raise InputError if it is invalid."""
    found = get_format(format_name)
    if is_parquet(path):
        raise InputError(f"{path} is a Parquet file: give CSV or JSON")
    return check_texts(found.read(path), timeframe)


def get_format(name: str) -> Format:
    """Return the format with this name."""
    try:
        return FORMATS[name]
    except KeyError:
        raise InputError(f"unknown format '{name}': choose one of {', '.join(FORMATS)}") from None


def _read_binance(path: Path) -> Texts:
    first = open_csv(path)
    if first.first_row[0].startswith("["):
        rows = _read_json(path)
        return Texts(path, _json_rows(rows, list(_KLINE.values())), "candle", _KLINE_UNITS)
    has_header = not re.fullmatch("[0-9]+", first.first_row[0])
    if has_header and first.first_row != list(_KLINE):
        raise InputError(f"{path} has neither klines nor their header in its first row: check --format")
    return Texts(path, _csv_rows(first, list(_KLINE.values()), has_header), "line", _KLINE_UNITS)


def _read_kraken(path: Path) -> Texts:
    first = open_csv(path)
    if not first.first_row[0].startswith("{"):
        return Texts(path, _csv_rows(first, _OHLCVT, False), "line", _OHLC_UNITS)
    reply = _read_json(path)
    if reply.get("error"):
        raise InputError(f"{path} is an error reply of Kraken ({reply['error']}): fetch the candles again")
    result = reply.get("result")
    pairs = [name for name in result if name != "last"] if isinstance(result, dict) else []
    if len(pairs) != 1:
        raise InputError(f"{path} is no reply with the candles of one pair: check --format")
    last = str(result.get("last", ""))
    if not re.fullmatch("[0-9]{1,11}", last):
        raise InputError(f"{path} has no time in 'last': give the complete reply of Kraken")
    return Texts(path, _json_rows(result[pairs[0]], _OHLC), "candle", _OHLC_UNITS, int(last))


def _read_generic(path: Path) -> Texts:
    first = open_csv(path)
    names, required = first.first_row, (START, *AMOUNTS)
    missing = [name for name in required if name not in names]
    unknown = [name for name in names if name not in (*required, *_GENERIC_OPTIONAL)]
    if missing or unknown or len(set(names)) < len(names):
        expected = f"{','.join(required)}[,{COUNT}][,{VWAP}]"
        raise InputError(f"{path} has no header of candles: give the columns {expected}, each once")
    return Texts(path, _csv_rows(first, names, True), "line", _GENERIC_UNITS)


FORMATS: Mapping[str, Format] = {
    "binance-klines": Format(_read_binance, "binance"),
    "kraken-ohlc": Format(_read_kraken, "kraken"),
    "generic": Format(_read_generic, None),
}


def _csv_rows(file: CsvFile, names: Sequence[str], has_header: bool) -> pa.Table:
    empty = pa.schema([*((name, pa.string()) for name in names), (LINE, pa.int64()), (PROBLEM, pa.string())])
    chunks = [empty.empty_table(), *(chunk.cast(empty) for chunk in read_csv(file, [*names], has_header))]
    return pa.concat_tables(chunks).combine_chunks()


def _read_json(path: Path) -> Any:
    """Return a JSON document whose numbers are exact texts."""
    try:
        return json.loads(
            read_all(path), parse_float=_plain_number, parse_int=str, parse_constant=str, object_pairs_hook=dict
        )
    except (ValueError, RecursionError):
        raise InputError(f"{path} is no JSON document: fetch it again") from None


def _plain_number(text: str) -> str:
    """Return a number such as 1e-8 without its exponent. One with a large exponent stays, and its row is refused."""
    return format(Decimal(text), "f") if _EXPONENT.search(text) else text


def _json_rows(rows: Any, names: Sequence[str]) -> pa.Table:
    """Return rows of a document as texts. A row that is no list with all columns has a problem."""
    found = rows if isinstance(rows, list) else [rows]
    columns: list[list[str | None]] = [[] for _ in names]
    problems: list[str | None] = []
    for row in found:
        size = len(row) if isinstance(row, list) else 0
        is_complete = size == len(names)
        problems.append(None if is_complete else f"{size} values, expected {len(names)}")
        for column, value in zip(columns, row if is_complete else [None] * len(names), strict=True):
            # Escapes of JSON may be no text of Arrow.
            column.append(value if isinstance(value, str) and value.isascii() else None)
    return pa.table(
        {
            **{name: pa.array(column, pa.string()) for name, column in zip(names, columns, strict=True)},
            LINE: pa.array(np.arange(1, len(found) + 1)),
            PROBLEM: pa.array(problems, pa.string()),
        }
    )
