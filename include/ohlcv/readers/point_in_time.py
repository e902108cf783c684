"""Candles as a reader saw them at a past moment, and as they were first known: no look-ahead in a backtest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And, BooleanExpression

from ohlcv.config.settings import Settings
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import EPOCH, MICROSECOND, ceil_time, from_microseconds, iso, to_microseconds
from ohlcv.model.ledger_records import Publication
from ohlcv.model.timeframes import Timeframe
from ohlcv.readers.candles import check_request, select_candles, sorted_candles
from ohlcv.readers.recorded_table import RecordedTable, open_recorded_table
from ohlcv.readers.scans import CandleSource, StoredCandles, time_condition
from ohlcv.readers.versions import Versions

# Keys in the metadata of an answer's schema.
SNAPSHOT = "ohlcv.snapshot"
VISIBLE_AT = "ohlcv.visible_at"
AVAILABLE_FROM = "ohlcv.available_from"
KNOWN_UNTIL = "ohlcv.known_until"

_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_MAX_VINTAGE = timedelta(days=36_525)


@dataclass(frozen=True)
class Vintage:
    """When candles are taken: as first published, or a duration after the end of their window."""

    # None: as first published.
    age: timedelta | None

    @classmethod
    def of(cls, value: str | timedelta) -> Vintage:
        """Return the vintage of a text such as `first` or `5m`, or of a duration. Raise InputError if it is invalid."""
        if value == "first":
            return cls(None)
        age = value if isinstance(value, timedelta) else _parse_duration(value)
        if not timedelta(0) < age <= _MAX_VINTAGE:
            raise InputError(
                f"vintage '{value}' must be more than zero and at most 100 years: give first, or a time such as 5m"
            )
        return cls(age)


def _parse_duration(text: str) -> timedelta:
    if not isinstance(text, str):
        raise InputError(f"vintage must be a text or a timedelta, not {type(text).__name__}")
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    match = _DURATION.fullmatch(digits)
    if match is None:
        raise InputError(f"'{text}' is no vintage: give first, or a duration such as 30s, 5m, 2h or 1d")
    return sign * timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


@dataclass(frozen=True)
class PastCandles:
    """The candles of a past moment or of a vintage."""

    recorded: RecordedTable
    source: CandleSource
    # The snapshot that readers saw; of a vintage the one from which revisions are undone. None: an empty table.
    snapshot: int | None
    # When readers began to see it; of a vintage when the ledger recorded it last.
    visible_at: datetime
    # Windows before this time are not in the answer, if that is so.
    available_from: datetime | None = None
    # Windows whose vintage is at or after this time are not in the answer.
    known_until: datetime | None = None

    @property
    def metadata(self) -> dict[str, str]:
        """Return what the schema of an answer says."""
        times = {VISIBLE_AT: self.visible_at, AVAILABLE_FROM: self.available_from, KNOWN_UNTIL: self.known_until}
        found = {name: iso(time) for name, time in times.items() if time is not None}
        return {**({} if self.snapshot is None else {SNAPSHOT: str(self.snapshot)}), **found}


def read_past_candles(
    settings: Settings,
    timeframe: Timeframe,
    symbol: str | None = None,
    exchange: str | None = None,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    newest: int | None = None,
    as_of: datetime | None = None,
    as_of_snapshot: int | None = None,
    vintage: str | timedelta | None = None,
) -> pa.Table:
    """Read candles as of a time, as of a snapshot, or of a vintage, like `read_candles`.

    The metadata of the schema names the snapshot. Without `start`, windows that are not available are left out.
    """
    check_request(start, end, newest)
    past = open_past_candles(
        settings, timeframe, start, end, as_of=as_of, as_of_snapshot=as_of_snapshot, vintage=vintage
    )
    found = select_candles(past.source, timeframe, symbol, exchange, start, end, newest)
    if not len(found):
        past.recorded.check_series(symbol, exchange)
    return sorted_candles(found, newest).replace_schema_metadata(past.metadata)


def open_past_candles(
    settings: Settings,
    timeframe: Timeframe,
    start: datetime | None,
    end: datetime | None,
    *,
    as_of: datetime | None = None,
    as_of_snapshot: int | None = None,
    vintage: str | timedelta | None = None,
) -> PastCandles:
    """Return the candles of a moment. Raise InputError if those of the range are not known."""
    if sum(each is not None for each in (as_of, as_of_snapshot, vintage)) != 1:
        raise InputError("give one of as-of, as-of-snapshot and vintage")
    now = datetime.now(UTC)
    if as_of is not None and as_of > now:
        raise InputError(f"as-of {iso(as_of)} is in the future: give a time up to now ({iso(now)})")
    chosen = None if vintage is None else Vintage.of(vintage)
    recorded = open_recorded_table(settings, timeframe)
    if chosen is not None:
        return _vintage(recorded, chosen, start, end, now)
    if as_of is not None:
        found = recorded.as_of(as_of)
    else:
        assert as_of_snapshot is not None
        found = recorded.as_of_snapshot(as_of_snapshot)
    if not isinstance(found, Publication):
        assert found.snapshot is not None, "the snapshot log has snapshots only"
        number = found.snapshot.snapshot_id
        return PastCandles(recorded, StoredCandles(recorded.table, number), number, found.visible_at)
    versions = recorded.versions()
    _check_deleted(versions, found.number, start, end)
    source = versions.stored if found == versions.checkpoint else _Undone(versions, found)
    available_from = None if start is not None else versions.available_from(found.number)
    return PastCandles(recorded, source, found.snapshot, found.visible_at, available_from)


_SHOWN = "SELECT {columns} FROM versions WHERE since <= $number AND until > $number"


@dataclass(frozen=True)
class _Undone:
    """The candles that a publication showed, by undoing later revisions."""

    versions: Versions
    publication: Publication

    @property
    def schema(self) -> pa.Schema:
        return self.versions.stored.schema

    def rows(self, condition: BooleanExpression, columns: Sequence[str] | None = None) -> pa.Table:
        number = self.publication.number
        condition = And(condition, self.versions.outside_deleted(number))
        return self.versions.candles(_SHOWN, condition, {"number": number}, columns)

    def partitions(self, condition: BooleanExpression) -> list[int]:
        number = self.publication.number
        return self.versions.partitions(And(condition, self.versions.outside_deleted(number)), number)


# A version is known at a time if readers have seen its first publication, but not the one that replaced it.
_AGED = """
    SELECT {columns}
    FROM versions
        JOIN publications AS begun ON versions.since = begun.number
        LEFT JOIN publications AS ended ON versions.until = ended.number
    WHERE window_start + $age < $known_until
        AND begun.seen_at <= window_start + $age
        AND (ended.seen_at IS NULL OR ended.seen_at > window_start + $age)
"""
_FIRST = """
    SELECT {columns}
    FROM versions
    QUALIFY since = min(since) OVER (PARTITION BY symbol, exchange, window_start)
"""


@dataclass(frozen=True)
class _Aged:
    """The candles as known some time after the end of their windows, or as first published."""

    versions: Versions
    vintage: Vintage
    # Earlier windows are left out.
    first_start: datetime | None
    known_until: datetime

    @property
    def schema(self) -> pa.Schema:
        return self.versions.stored.schema

    def rows(self, condition: BooleanExpression, columns: Sequence[str] | None = None) -> pa.Table:
        condition = self._available(condition)
        if self.vintage.age is None:
            found = self.versions.candles(
                _FIRST, condition, columns=columns, extra="is_first, window_start AS first_window"
            )
            return self._known(found)
        values = {
            "age": (self.versions.timeframe.length + self.vintage.age) // MICROSECOND,
            "known_until": to_microseconds(self.known_until),
        }
        return self.versions.candles(_AGED, condition, values, columns)

    def _known(self, found: pa.Table) -> pa.Table:
        """Return the candles without the additional columns. Raise InputError if the first values of one are lost."""
        unknown = found.filter(pc.invert(found["is_first"]))["first_window"].drop_null()
        if len(unknown):
            available = from_microseconds(pc.max(unknown).as_py()) + self.versions.timeframe.length
            raise InputError(
                f"the first values of some {self.versions.timeframe} candles were replaced before the ledger began: "
                f"vintage first is available for windows from {iso(available)}"
            )
        return found.drop_columns(["is_first", "first_window"])

    def partitions(self, condition: BooleanExpression) -> list[int]:
        return self.versions.partitions(self._available(condition))

    def _available(self, condition: BooleanExpression) -> BooleanExpression:
        condition = And(condition, self.versions.outside_deleted(0))
        return And(condition, time_condition(self.first_start, None))


def _vintage(
    recorded: RecordedTable, vintage: Vintage, start: datetime | None, end: datetime | None, now: datetime
) -> PastCandles:
    versions = recorded.versions()
    timeframe = recorded.timeframe
    begin = versions.base.visible_at
    _check_deleted(versions, 0, start, end)
    # The first window whose vintage is not before the ledger.
    earlier = min(timedelta(0) if vintage.age is None else vintage.age + timeframe.length, begin - EPOCH)
    first_start = ceil_time(begin - earlier, timeframe.length)
    if vintage.age is not None and start is not None and start < first_start:
        raise InputError(
            f"this vintage of {timeframe} candles from {iso(start)} is before the ledger, which began "
            f"{iso(begin)}: available for windows from {iso(first_start)}"
        )
    known_until = recorded.known_until or now
    source = _Aged(versions, vintage, None if start is not None else first_start, known_until)
    deleted = versions.available_from(0)
    available = max(first_start, deleted) if deleted is not None else first_start
    checkpoint = versions.checkpoint
    return PastCandles(
        recorded,
        source,
        checkpoint.snapshot,
        checkpoint.visible_at,
        None if start is not None else available,
        known_until,
    )


def _check_deleted(versions: Versions, number: int, start: datetime | None, end: datetime | None) -> None:
    """Raise InputError if a range overlaps partitions that retention deleted after a publication."""
    timeframe = versions.timeframe
    overlapping = [
        day
        for day in versions.deleted_days(number)
        if start is not None
        and start.astimezone(UTC).date() < timeframe.next_partition(day)
        and (end is None or end.astimezone(UTC) > datetime(day.year, day.month, day.day, tzinfo=UTC))
    ]
    if overlapping:
        available = timeframe.next_partition(overlapping[-1])
        raise InputError(
            f"retention has deleted {timeframe} candles of this range: available for windows from {available}"
        )
