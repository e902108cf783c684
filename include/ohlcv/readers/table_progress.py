"""Progress of candle tables: which days are built and have measures, which are left to reprocess, and which cannot be.

Almost all of it comes from metadata: the partitions of the trades, and the bounds and null counts of the candles'
files. Candles are read where metadata do not tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask, Table
from pyiceberg.types import TimestamptzType

from ohlcv.config.settings import Settings
from ohlcv.iceberg.damage import report_damage
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model.intervals import Range, from_microseconds
from ohlcv.model.partition_units import merge_partitions, partition_number
from ohlcv.model.source_hours import HOURS_PER_DAY, hour_start, hours_overlapping
from ohlcv.model.table_contracts import MEASURES
from ohlcv.model.timeframes import DAY, Timeframe
from ohlcv.readers.trades import TradesTable

# The DAG ohlcv_reprocess rebuilds a day this long after its end: until then its own run is not due.
REPROCESS_DELAY = timedelta(hours=1, minutes=30)
WINDOW_START, TRADE_COUNT = "window_start", "trade_count"
# Null only in a candle without measures.
QUOTE_VOLUME = MEASURES[0]
# Files with candles that are read at once.
_BATCH = 100

# Shows what is being read.
Show = Callable[[str], None]
# First and last day, both inclusive.
Days = tuple[date, date]


@dataclass(frozen=True)
class TableProgress:
    """Progress of the candle table of a timeframe. Days are those of which trades or candles are within retention."""

    timeframe: str
    is_extended: bool
    candles: int
    # Candles with measures.
    measured: int
    days_with_trades: int
    # Of those, the days that are complete: with measures if the table is extended.
    days_built: int
    to_reprocess: tuple[Days, ...]
    # Days with candles that are missing or have no measures, and whose trades have expired.
    expired: tuple[Days, ...]

    @property
    def days_left(self) -> int:
        return sum(map(_length, self.to_reprocess))

    @property
    def days_expired(self) -> int:
        return sum(map(_length, self.expired))

    def to_json(self) -> dict[str, Any]:
        """Return the progress as JSON values."""
        return {
            "timeframe": self.timeframe,
            "extended": self.is_extended,
            "candles": self.candles,
            "candles_with_measures": self.measured,
            "days_with_trades": self.days_with_trades,
            "days_built": self.days_built,
            "days_to_reprocess": self.days_left,
            "to_reprocess": [[first.isoformat(), last.isoformat()] for first, last in self.to_reprocess],
            "days_expired": self.days_expired,
            "expired": [[first.isoformat(), last.isoformat()] for first, last in self.expired],
        }


def read_progress(
    settings: Settings, names: Iterable[str], now: datetime, show: Show = lambda _: None
) -> list[TableProgress]:
    """Return the progress of the tables of these timeframes, up to the last day whose reprocessing run is due."""
    catalog = open_catalog(settings)
    until = (now - REPROCESS_DELAY).date()
    show("reading the metadata of the trades")
    begin = min(timeframe.cutoff(until) for timeframe in settings.timeframes.values())
    hours = _trade_hours(settings, catalog, begin, until)
    tables = {}
    for timeframe in settings.timeframes.values():
        show(f"reading the metadata of the {timeframe} candles")
        tables[timeframe.name] = _CandleDays.read(settings, catalog, timeframe)
    known = {day for table in tables.values() for day in table.days}
    progress = []
    for name in names:
        show(f"reading {name} candles without measures")
        progress.append(_progress(tables[name], hours, known, until))
    return progress


def backfill_commands(progress: Iterable[TableProgress], enabled: Sequence[str]) -> list[str]:
    """Return the commands that reprocess the days that are left, each in the timeframes that need it."""
    wanted: dict[date, list[str]] = {}
    for each in progress:
        for first, last in each.to_reprocess:
            for number in range(_length((first, last))):
                wanted.setdefault(first + number * DAY, []).append(each.timeframe)
    groups: dict[tuple[str, ...], list[date]] = {}
    for day, names in wanted.items():
        groups.setdefault(tuple(names), []).append(day)
    return [
        _command(days, names, enabled)
        for days, names in sorted((days, names) for names, found in groups.items() for days in _ranges(found))
    ]


def _command(days: Days, names: Sequence[str], enabled: Sequence[str]) -> str:
    first, last = days
    quoted = ", ".join(f'"{name}"' for name in names)
    # A bare end is its midnight; the run of a day has its logical date within this day.
    return (
        f"airflow backfill create --dag-id ohlcv_reprocess --from-date {first} --to-date {last + DAY} "
        "--reprocess-behavior completed"
    ) + ("" if list(names) == list(enabled) else f" --dag-run-conf '{{\"timeframes\": [{quoted}]}}'")


def _trade_hours(settings: Settings, catalog: Catalog, begin: date, until: date) -> dict[int, int | None]:
    """Return the hours with trades, and how many each has at most; None if metadata do not tell."""
    trades = TradesTable(load_table(catalog, settings.trades_contract), settings.trades_mapping)
    considered = range(*(partition_number("day", day) * HOURS_PER_DAY for day in (begin, until)))
    scan = trades.table.scan()
    with report_damage(trades.table, scan):
        files = [task.file for task in scan.plan_files()]
    counts: dict[int, int | None] = {}
    for file in files:
        hours = trades.hours_in(file, considered)
        is_exact = len(trades.stored_hours(file)) == 1
        for hour in hours:
            before = counts.get(hour, 0)
            counts[hour] = before + file.record_count if is_exact and before is not None else None
    return counts


@dataclass
class _Day:
    """Candles of a day."""

    candles: int = 0
    measured: int = 0
    # Starts of the first and the last window.
    first: datetime | None = None
    last: datetime | None = None

    def add(self, candles: int, measured: int, first: datetime, last: datetime) -> None:
        self.candles += candles
        self.measured += measured
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)


@dataclass(frozen=True)
class _CandleDays:
    """Candles of a table by day."""

    timeframe: Timeframe
    table: Table
    is_extended: bool
    days: Mapping[date, _Day]
    # Files by the first day of their partition.
    files: Mapping[date, Sequence[FileScanTask]]

    @classmethod
    def read(cls, settings: Settings, catalog: Catalog, timeframe: Timeframe) -> _CandleDays:
        contract = settings.candles_contract(timeframe)
        table = load_table(catalog, contract)
        scan = table.scan()
        with report_damage(table, scan):
            tasks = list(scan.plan_files())
        is_extended = contract.is_extended(table.schema().column_names)
        days: dict[date, _Day] = {}
        files: dict[date, list[FileScanTask]] = {}
        unclear = []
        for task in tasks:
            number = task.file.partition[0]
            if number is None:
                continue  # a candle of another writer, without its date, which no run rebuilds
            partition = timeframe.partition_start(number)
            files.setdefault(partition, []).append(task)
            found = _described(table, task, is_extended=is_extended) if timeframe.partition == "day" else None
            if found is None:
                unclear.append(task)
            else:
                days.setdefault(partition, _Day()).add(*found)
        for rows in _read(table, unclear, is_extended=is_extended):
            _add_rows(days, rows)
        return cls(timeframe, table, is_extended, days, files)

    def unmeasured(self, days: Iterable[date]) -> dict[datetime, int]:
        """Return the start of each window of these days with candles without measures, and their number of trades."""
        wanted = set(days)
        partitions = {self.timeframe.partition_of(day) for day in wanted}
        tasks = [task for partition in sorted(partitions) for task in self.files.get(partition, ())]
        counts: dict[datetime, int] = {}
        for rows in _read(self.table, tasks, is_extended=True):
            for row in rows.filter(pc.field(QUOTE_VOLUME).is_null()).to_pylist():
                start = row[WINDOW_START]
                if start.date() in wanted:
                    counts[start] = counts.get(start, 0) + (row[TRADE_COUNT] or 0)
        return counts


def _described(table: Table, task: FileScanTask, *, is_extended: bool) -> tuple[int, int, datetime, datetime] | None:
    """Return candles, those with measures, and first and last window of a file; None if its metadata do not tell."""
    file = task.file
    start = table.schema().find_field(WINDOW_START).field_id
    lower, upper, values = file.lower_bounds or {}, file.upper_bounds or {}, file.value_counts or {}
    if task.delete_files or start not in lower or start not in upper or start not in values:
        return None
    measured = _count_measured(table, file) if is_extended else 0
    if measured is None:
        return None
    first, last = (from_microseconds(int(from_bytes(TimestamptzType(), each[start]))) for each in (lower, upper))
    return file.record_count, measured, first, last


def _count_measured(table: Table, file: DataFile) -> int | None:
    measure = table.schema().find_field(QUOTE_VOLUME).field_id
    if measure not in (file.value_counts or {}):
        # A file from before the extension does not have the column. Other columns have counts.
        return 0
    nulls = (file.null_value_counts or {}).get(measure)
    return None if nulls is None else file.record_count - nulls


def _read(table: Table, tasks: Sequence[FileScanTask], *, is_extended: bool) -> Iterator[pa.Table]:
    """Yield the window starts, numbers of trades and quote volumes of files, some files at a time."""
    columns = (WINDOW_START, TRADE_COUNT, *((QUOTE_VOLUME,) if is_extended else ()))
    scan = table.scan(selected_fields=columns)
    reader = ArrowScan(scan.table_metadata, scan.io, scan.projection(), AlwaysTrue())
    for begin in range(0, len(tasks), _BATCH):
        with report_damage(table, scan):
            rows = reader.to_table(tasks[begin : begin + _BATCH])
        yield rows


def _add_rows(days: dict[date, _Day], rows: pa.Table) -> None:
    measures = rows[QUOTE_VOLUME].is_valid() if QUOTE_VOLUME in rows.column_names else [False] * len(rows)
    for start, measured in zip(rows[WINDOW_START].to_pylist(), measures, strict=True):
        if start is not None:
            days.setdefault(start.date(), _Day()).add(1, int(bool(measured)), start, start)


def _progress(table: _CandleDays, hours: Mapping[int, int | None], known: Iterable[date], until: date) -> TableProgress:
    begin = table.timeframe.cutoff(until)
    hours_by_day: dict[date, list[int]] = {}
    for hour in hours:
        hours_by_day.setdefault(hour_start(hour).date(), []).append(hour)
    with_trades = {day for day in hours_by_day if begin <= day < until}
    left = {day for day in with_trades if not _is_built(table, day, hours_by_day[day], hours)}
    # Without trades, only another table shows that there were some.
    expired = {day for day in known if begin <= day < until and day not in with_trades and day not in table.days}
    without = {
        day
        for day, found in table.days.items()
        if table.is_extended and begin <= day < until and found.measured < found.candles
    }
    expired |= without - with_trades
    complete = {day for day in without & with_trades if len(hours_by_day[day]) == HOURS_PER_DAY}
    left |= complete
    if unclear := (without & with_trades) - complete:
        for start, trades in table.unmeasured(unclear).items():
            (left if _has_trades(table.timeframe, start, trades, hours) else expired).add(start.date())
    return TableProgress(
        table.timeframe.name,
        table.is_extended,
        sum(each.candles for each in table.days.values()),
        sum(each.measured for each in table.days.values()),
        len(with_trades),
        len(with_trades - left),
        tuple(_ranges(left)),
        tuple(_ranges(expired)),
    )


def _is_built(table: _CandleDays, day: date, found: Sequence[int], hours: Mapping[int, int | None]) -> bool:
    """Return whether the candles of a day reach from its first to its last hour with trades."""
    candles = table.days.get(day)
    if candles is None or candles.first is None or candles.last is None:
        return False
    # Of files with several hours, bounds do not tell in which of them the first and the last trade are.
    exact = [hour for hour in found if hours[hour] is not None]
    if not exact:
        return True
    first_hour_ends, last_hour_starts = hour_start(min(exact) + 1), hour_start(max(exact))
    return candles.first < first_hour_ends and candles.last + table.timeframe.length > last_hour_starts


def _has_trades(timeframe: Timeframe, start: datetime, trades: int, hours: Mapping[int, int | None]) -> bool:
    """Return whether a rebuild of a window finds all trades of its candles.

    A candle is preserved if one of the hours of its window has no trades and a rebuild would count fewer than before.
    """
    window = hours_overlapping([Range(start, start + timeframe.length)])
    if all(hour in hours for hour in window):
        return True
    counts = [hours[hour] for hour in window if hour in hours]
    return bool(counts) and (None in counts or sum(filter(None, counts)) >= trades)


def _length(days: Days) -> int:
    return (days[1] - days[0]).days + 1


def _ranges(days: Iterable[date]) -> list[Days]:
    """Return ranges of consecutive days that contain exactly these days."""
    return [(first, end - DAY) for first, end in merge_partitions("day", set(days))]
