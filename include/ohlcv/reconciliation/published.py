"""Published candles of a file: texts converted to exact values, each of them checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ohlcv.ingest.file_readers import LINE, PROBLEM
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import format_duration, from_microseconds, iso, parse_time, to_microseconds
from ohlcv.model.timeframes import TIMEFRAMES, Timeframe

START, CLOSE_TIME = "window_start", "close_time"
PRICES = ("open", "high", "low", "close")
COUNT, VWAP, QUOTE_VOLUME = "trade_count", "vwap", "quote_volume"
# Amounts of which every file has a value, and of which some formats have none.
AMOUNTS = (*PRICES, "volume")
OPTIONAL_AMOUNTS = (VWAP, QUOTE_VOLUME)
# 30 integer digits, as a widened volume of ours has.
AMOUNT = pa.decimal256(48, 18)
_AMOUNT_TEXT = r"^[0-9]{1,30}(\.[0-9]{1,18})?$"
_WHOLE_TEXT = r"^[0-9]{1,18}$"
# Units of times: microseconds of one, and the numbers that are times of this unit in the years 1973 to 5138.
_UNITS = {"seconds": (1_000_000, 10**8), "milliseconds": (1_000, 10**11), "microseconds": (1, 10**14)}


@dataclass(frozen=True)
class Texts:
    """The rows of a file as texts, with their numbers and problems."""

    path: Path
    rows: pa.Table
    # How errors name a row.
    row_name: str
    # Units that the format permits; "ISO" for texts.
    units: Sequence[str]
    # Start in seconds of the last candle that the exchange calls finished.
    last: int | None = None


@dataclass(frozen=True)
class PublishedFile:
    """The candles of a file in the order of their windows, which do not overlap."""

    path: Path
    timeframe: Timeframe
    # Start in microseconds, amounts, and those of trade_count, vwap and quote_volume that the format has.
    rows: pa.Table
    # Most decimal places of an amount in the file.
    places: Mapping[str, int]
    # Start in microseconds of the last candle that the exchange calls finished.
    last: int | None

    @property
    def starts(self) -> np.ndarray:
        found: np.ndarray = self.rows[START].to_numpy()
        return found


def check_texts(texts: Texts, timeframe: Timeframe | None) -> PublishedFile:
    """Return the candles of a file. Raise InputError for the first row that is invalid."""
    return _Checker(texts).check(timeframe)


class _Checker:
    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self._rows = texts.rows
        if not len(self._rows):
            raise InputError(f"{texts.path} has no candle: give a file with published candles")
        self._refuse_problems()

    def check(self, timeframe: Timeframe | None) -> PublishedFile:
        starts, unit_name = self._times()
        timeframe = self._timeframe(starts, unit_name, timeframe)
        self._check_windows(starts, timeframe)
        columns = {START: pa.array(starts)}
        present = [name for name in (*AMOUNTS, *OPTIONAL_AMOUNTS) if name in self._rows.column_names]
        for name in present:
            columns[name] = self._amounts(name)
        if COUNT in self._rows.column_names:
            columns[COUNT] = self._whole(COUNT)
        self._check_values(columns)
        places = {name: self._places(name) for name in present}
        last = None if self._texts.last is None else self._texts.last * 1_000_000
        return PublishedFile(self._texts.path, timeframe, pa.table(columns), places, last)

    def _refuse(self, is_bad: pa.Array, describe: str, column: str | None = None) -> None:
        """Raise InputError for the first row of a mask. The text gets the value of a column."""
        position = pc.index(is_bad, True).as_py()
        if position >= 0:
            value = "" if column is None else (self._rows[column][position].as_py() or "")[:50]
            row = self._rows[LINE][position].as_py()
            raise InputError(f"{self._texts.path}, {self._texts.row_name} {row}: {describe.format(value=value)}")

    def _refuse_problems(self) -> None:
        problems = self._rows[PROBLEM]
        self._refuse(pc.is_valid(problems), "{value}: correct the format of the file", PROBLEM)

    def _text(self, name: str) -> pa.ChunkedArray:
        return pc.fill_null(self._rows[name], "")

    def _whole(self, name: str) -> pa.ChunkedArray:
        texts = self._text(name)
        is_bad = pc.invert(pc.match_substring_regex(texts, _WHOLE_TEXT))
        self._refuse(is_bad, f"{name} is '{{value}}': give a whole number", name)
        return texts.cast(pa.int64())

    def _amounts(self, name: str) -> pa.ChunkedArray:
        texts = self._text(name)
        is_bad = pc.invert(pc.match_substring_regex(texts, _AMOUNT_TEXT))
        self._refuse(
            is_bad,
            f"{name} is '{{value}}': give a number of 0 or more with at most 30 digits and at most 18 decimal places",
            name,
        )
        return texts.cast(AMOUNT)

    def _places(self, name: str) -> int:
        texts = self._text(name)
        fractions = pc.subtract(pc.subtract(pc.utf8_length(texts), pc.find_substring(texts, ".")), 1)
        found = pc.max(pc.if_else(pc.match_substring(texts, "."), fractions, 0)).as_py()
        return int(found)

    def _times(self) -> tuple[np.ndarray, str]:
        """Return the starts in microseconds, and the name of the unit of the file."""
        first = self._text(START)[0].as_py()
        if "ISO" in self._texts.units and not re.fullmatch("[0-9]+", first):
            return self._iso_times(), "microseconds"
        numbers = self._whole(START).to_numpy()
        name = next((each for each in reversed(_UNITS) if numbers[0] >= _UNITS[each][1]), None)
        if name is None or name not in self._texts.units:
            units = " or ".join(each for each in self._texts.units if each != "ISO")
            self._refuse(pa.array([True]), f"the time {{value}} is not in {units}: check --format", START)
        assert name is not None
        self._refuse_other_unit(START, name)
        return numbers * _UNITS[name][0], name

    def _refuse_other_unit(self, column: str, unit_name: str) -> None:
        """Raise InputError for the first time of a column that is not in a unit."""
        numbers, lowest = self._whole(column).to_numpy(), _UNITS[unit_name][1]
        is_other = pa.array((numbers < lowest) | (numbers >= lowest * 1_000))
        self._refuse(
            is_other, f"the time {{value}} is not in {unit_name} as the first one of the file: use one unit", column
        )

    def _iso_times(self) -> np.ndarray:
        found = []
        for position, text in enumerate(self._text(START).to_pylist()):
            try:
                found.append(to_microseconds(parse_time(text)[0]))
            except InputError:
                is_bad = pa.array([each == position for each in range(position + 1)])
                self._refuse(is_bad, "the time '{value}' is no ISO time as that of the first row: use one unit", START)
        return np.array(found, np.int64)

    def _timeframe(self, starts: np.ndarray, unit_name: str, timeframe: Timeframe | None) -> Timeframe:
        if CLOSE_TIME not in self._rows.column_names:
            if timeframe is None:
                raise InputError("the format does not name the timeframe: give --timeframe")
            return timeframe
        lengths = (self._whole(CLOSE_TIME).to_numpy() + 1) * _UNITS[unit_name][0] - starts
        length = int(lengths[0])
        found = next((each for each in TIMEFRAMES.values() if each.microseconds == length), None)
        path = self._texts.path
        if found is None:
            self._refuse_other_unit(CLOSE_TIME, unit_name)
            duration = format_duration(from_microseconds(max(length, 0)) - from_microseconds(0))
            raise InputError(f"{path} has windows of {duration}: give candles of {', '.join(TIMEFRAMES)}")
        if timeframe is not None and timeframe.name != found.name:
            raise InputError(f"{path} has candles of {found}, not of {timeframe}: correct --timeframe")
        self._refuse(
            pa.array(lengths != length),
            f"close_time {{value}} ends no window of {found}: give one timeframe and one unit per file",
            CLOSE_TIME,
        )
        return timeframe or found

    def _check_windows(self, starts: np.ndarray, timeframe: Timeframe) -> None:
        self._refuse(
            pa.array(starts % timeframe.microseconds != 0),
            f"the time {{value}} begins no window of {timeframe}: give aligned windows",
            START,
        )
        is_late = np.concatenate(([True], starts[1:] > starts[:-1]))
        self._refuse(
            pa.array(~is_late),
            "the window at {value} overlaps or precedes the one before: give each window once, in order",
            START,
        )

    def _check_values(self, columns: Mapping[str, pa.ChunkedArray]) -> None:
        zero = pa.scalar(0, AMOUNT)
        has_volume = pc.greater(columns["volume"], zero)
        has_trades = has_volume
        if COUNT in columns:
            has_trades = pc.greater(columns[COUNT], 0)
            self._refuse(
                pc.and_not(has_volume, has_trades), "a volume of {value} without trades: correct the row", "volume"
            )
        for name in PRICES:
            self._refuse(
                pc.and_(pc.equal(columns[name], zero), has_trades), f"{name} is {{value}}: give a price above 0", name
            )
        self._refuse(pc.less(columns["high"], columns["low"]), "high {value} is below low: correct the row", "high")


def overlap_problem(files: Sequence[PublishedFile]) -> str | None:
    """Return a line about the first two files whose windows overlap, None if there are none."""
    ordered = sorted(files, key=lambda each: int(each.starts[0]))
    for before, after in pairwise(ordered):
        if int(after.starts[0]) <= int(before.starts[-1]):
            start = iso(from_microseconds(int(after.starts[0])))
            return f"{after.path} and {before.path} overlap at {start}: give each window in one file"
    return None
