"""Feed of revisions: which candles each publication changed, with their values before and after, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, get_args

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And, BooleanExpression

from ohlcv.config.settings import Settings
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import from_microseconds
from ohlcv.model.ledger_records import Cause, Publication
from ohlcv.model.table_contracts import CANDLE_COLUMNS, KEY
from ohlcv.model.timeframes import Timeframe
from ohlcv.readers.candles import check_request
from ohlcv.readers.recorded_table import RecordedTable, open_recorded_table
from ohlcv.readers.scans import one_of, series_condition, time_condition
from ohlcv.readers.versions import OPEN_END, Versions

# Key in the metadata of the schema: the number for `since` of the next read.
SINCE = "ohlcv.since"
# Columns of a candle besides its key. A row has them twice, after these prefixes.
VALUES = tuple(column.name for column in CANDLE_COLUMNS if column.name not in KEY)
BEFORE, AFTER = "before_", "after_"
CAUSES: tuple[str, ...] = get_args(Cause)
# Publications are read together until they have changed so many candles.
_MAX_CHANGES = 200_000
# Revisions that are read at a time.
PAGE_ROWS = 20_000

# (publication, window_start in microseconds, symbol, exchange) of a revision: its place in the feed.
FeedKey = tuple[int, int, str, str]
_ORDER = ("publication", "window_start", "symbol", "exchange")


@dataclass(frozen=True)
class FeedQuery:
    """A selection of revisions. None means any."""

    # Only publications after this number, by default all that the ledger knows.
    since: int | None = None
    symbol: str | None = None
    exchange: str | None = None
    # start <= window_start < end
    start: datetime | None = None
    end: datetime | None = None
    cause: str | None = None
    # Also candles that are new.
    insertions: bool = False

    def __post_init__(self) -> None:
        check_request(self.start, self.end)
        if self.since is not None and self.since < 0:
            raise InputError(f"since {self.since} is negative: give the number of a publication, or 0")
        if self.cause is not None and self.cause not in CAUSES:
            raise InputError(f"unknown cause '{self.cause}': choose one of {', '.join(CAUSES)}")

    @property
    def condition(self) -> BooleanExpression:
        """Return the condition on candles."""
        return And(series_condition(self.symbol, self.exchange), time_condition(self.start, self.end))


@dataclass(frozen=True)
class FeedPage:
    """Revisions in the order of publication, window_start, symbol and exchange."""

    table: pa.Table
    # Key of the last one, if more follow.
    next_key: FeedKey | None
    # Number of the newest recorded publication: `since` of the next request, once no more follow.
    checkpoint: int


def read_feed(recorded: RecordedTable, query: FeedQuery, limit: int, after: FeedKey | None = None) -> FeedPage:
    """Return a page of revisions. It has more than `limit` rows only for keys that are stored several times."""
    versions = recorded.versions()
    newest = versions.checkpoint.number
    # A gap may have been recorded since the page before.
    since = _first_number(versions, query.since if after is None else after[0] - 1)
    candidates: list[FeedKey] = []
    for group in _groups(versions, since, query.insertions, limit):
        candidates += _candidates(versions, query, group, after, limit + 1)
        if len(candidates) > limit:
            break
    page = candidates[:limit]
    table = read_events(versions, query.condition, page)
    if not len(table) and after is None:
        recorded.check_series(query.symbol, query.exchange)
    return FeedPage(table, page[-1] if len(candidates) > limit else None, newest)


def read_revisions(
    settings: Settings, timeframe: Timeframe, query: FeedQuery, limit: int | None = None
) -> tuple[pa.Table, int]:
    """Return the revisions up to the end of the publication with revision number `limit`, and `since` to continue."""
    if limit is not None and limit < 1:
        raise InputError(f"the limit must be 1 or more, not {limit}")
    recorded = open_recorded_table(settings, timeframe)
    found: list[pa.Table] = []
    rows, key = 0, None
    while True:
        page = read_feed(recorded, query, PAGE_ROWS if limit is None else min(max(limit, 1_000), PAGE_ROWS), key)
        found.append(page.table)
        rows += len(page.table)
        key = page.next_key
        if limit is not None and rows >= limit:
            table = pa.concat_tables(found)
            last = table["publication"][limit - 1].as_py()
            # Publications are cut nowhere, because `since` is the number of one.
            if key is None or key[0] > last:
                return table.filter(pc.field("publication") <= last), last
        if key is None:
            return pa.concat_tables(found), page.checkpoint


def follow_feed(
    settings: Settings, timeframe: Timeframe, query: FeedQuery, wait: Callable[[float], bool], seconds: float
) -> Iterator[pa.Table]:
    """Yield revisions as they are recorded, at first those that are recorded already.

    `wait` waits so many seconds, or returns true at once when there is no need to continue.
    """
    recorded = open_recorded_table(settings, timeframe)
    while True:
        key = None
        while True:
            page = read_feed(recorded, query, PAGE_ROWS, key)
            yield page.table
            key = page.next_key
            if key is None:
                break
        query = replace(query, since=page.checkpoint)
        while not wait(seconds):
            recorded = open_recorded_table(settings, timeframe)
            if recorded.ledger.checkpoint and recorded.ledger.checkpoint.number > page.checkpoint:
                break
        else:
            return


def _first_number(versions: Versions, since: int | None) -> int:
    """Return the number after which the feed begins. Raise InputError if the ledger does not know all after it."""
    base, newest = versions.base.number, versions.checkpoint.number
    if since is None:
        return base
    if since > newest:
        raise InputError(f"since {since} is after the newest recorded publication: give at most {newest}")
    if since < base and base > 1:
        raise InputError(
            f"publications between {since} and {base} are not recorded: read the candles again, then the revisions "
            f"since {base}"
        )
    return since


def _groups(versions: Versions, since: int, insertions: bool, limit: int) -> Iterator[list[Publication]]:
    """Yield the publications after a number, several at a time, the oldest first."""
    group: list[Publication] = []
    changes, size = 0, limit
    for publication in versions.ledger.publications:
        if publication.number <= max(since, versions.base.number):
            continue
        group.append(publication)
        changes += publication.updated + publication.deleted + (publication.inserted if insertions else 0)
        if changes > size:
            yield group
            # Further ones are read because a filter excludes most of the candles.
            group, changes, size = [], 0, min(4 * size, _MAX_CHANGES)
    if group:
        yield group


def _candidates(
    versions: Versions, query: FeedQuery, group: Sequence[Publication], after: FeedKey | None, count: int
) -> list[FeedKey]:
    """Return the first keys of revisions of publications, and of insertions if the query has them, in their order."""
    first, last = group[0].number, group[-1].number
    # Later revisions may have replaced what these publications inserted.
    with_stamps = query.insertions and query.cause is None
    revisions = versions.read_revisions(
        query.condition, (*_ORDER, "change", "causes", "created_at"), first, OPEN_END if with_stamps else last
    )
    explicit = revisions.filter(pc.field("publication") <= last)
    if not query.insertions:
        explicit = explicit.filter(pc.field("change") != "inserted")
    if query.cause is not None:
        has_cause = [query.cause in (causes or ()) for causes in explicit["causes"].to_pylist()]
        explicit = explicit.filter(pa.array(has_cause, pa.bool_()))
    found = [explicit.select(_ORDER)]
    stamps = {each.written_at: each.number for each in group if each.written_at is not None}
    if with_stamps and stamps:
        replaced = revisions.filter((pc.field("change") != "inserted") & pc.field("created_at").isin([*stamps]))
        stored = versions.stored.rows(And(query.condition, one_of("created_at", stamps)), (*KEY, "created_at"))
        for rows in (replaced, stored):
            times = pa.array([*stamps], rows["created_at"].type)
            places = pc.index_in(rows["created_at"], times)
            numbers = pa.array([*stamps.values()], pa.int64()).take(places.combine_chunks())
            found.append(rows.select(KEY).add_column(0, "publication", numbers).select(_ORDER))
    keys = _distinct_keys(pa.concat_tables(found))
    if after is not None:
        keys = keys.filter(_is_after(after))
    # Not all as Python objects: a rebuild of history may have millions.
    return [_key_of_integers(row) for row in keys.sort_by([(name, "ascending") for name in _ORDER])[:count].to_pylist()]


def _distinct_keys(rows: pa.Table) -> pa.Table:
    start = pc.fill_null(rows["window_start"].cast(pa.int64()), 0)
    names = (pc.fill_null(rows[name], "") for name in ("symbol", "exchange"))
    return pa.table([rows["publication"], start, *names], names=_ORDER).group_by([*_ORDER]).aggregate([])


def _is_after(key: FeedKey) -> pc.Expression:
    condition = pc.scalar(False)
    for name, value in reversed([*zip(_ORDER, key, strict=True)]):
        condition = (pc.field(name) > value) | ((pc.field(name) == value) & condition)
    return condition


_EVENTS = f"""
    WITH before AS (
        SELECT *, row_number() OVER (PARTITION BY symbol, exchange, window_start, until ORDER BY {", ".join(VALUES)})
            AS position
        FROM versions
    ),
    after AS (
        SELECT *, row_number() OVER (PARTITION BY symbol, exchange, window_start, since ORDER BY {", ".join(VALUES)})
            AS position
        FROM versions
        WHERE since >= $first
    ),
    changed AS (
        SELECT coalesce(before.until, after.since) AS publication,
            coalesce(before.symbol, after.symbol) AS symbol,
            coalesce(before.exchange, after.exchange) AS exchange,
            coalesce(before.window_start, after.window_start) AS window_start,
            {", ".join(f"before.{name} AS {BEFORE}{name}" for name in VALUES)},
            {", ".join(f"after.{name} AS {AFTER}{name}" for name in VALUES)}
        FROM before FULL JOIN after
            ON before.until = after.since AND before.position = after.position
            AND before.symbol IS NOT DISTINCT FROM after.symbol
            AND before.exchange IS NOT DISTINCT FROM after.exchange
            AND before.window_start IS NOT DISTINCT FROM after.window_start
    ),
    reasons AS (
        SELECT publication, symbol, exchange, window_start, any_value(change) AS change, any_value(causes) AS causes,
            any_value(lateness) AS lateness, any_value(held_since) AS held_since, bool_or(waived) AS waived
        FROM revisions
        GROUP BY ALL
    )
    SELECT changed.publication, changed.symbol, changed.exchange, changed.window_start,
        CASE WHEN changed.publication > $base THEN coalesce(change, 'inserted') END AS change,
        coalesce(causes, []) AS causes, lateness, held_since, coalesce(waived, false) AS waived,
        visible_at, changed.* EXCLUDE (publication, symbol, exchange, window_start)
    FROM changed
        JOIN publications ON changed.publication = number
        LEFT JOIN reasons
            ON changed.publication = reasons.publication
            AND changed.symbol IS NOT DISTINCT FROM reasons.symbol
            AND changed.exchange IS NOT DISTINCT FROM reasons.exchange
            AND changed.window_start IS NOT DISTINCT FROM reasons.window_start
    WHERE changed.publication >= $first
    ORDER BY changed.publication, changed.window_start, changed.symbol, changed.exchange
"""
# The run of a publication.
RUN_COLUMNS = ("trigger", "dag_id", "run_id", "snapshot", "trades_snapshot")


def read_events(versions: Versions, condition: BooleanExpression, page: Sequence[FeedKey] | None = None) -> pa.Table:
    """Return the changes of candles with their values before and after.

    With a page, only its changes; else all, and the candles that the ledger began with, whose `change` is null.
    """
    base = versions.base.number
    if page is not None:
        condition = And(condition, _windows(page))
    first = base if page is None else min((key[0] for key in page), default=base + 1)
    found = versions.query(_EVENTS, condition, {"base": base, "first": first})
    if page is not None:
        wanted = set(page)
        keys = found.select(["publication", *KEY]).to_pylist()
        found = found.filter(pa.array([_key_of_integers(key) in wanted for key in keys], pa.bool_()))
    return _with_runs(versions, found.cast(_event_schema(versions, found.schema)))


def _key_of_integers(row: dict[str, Any]) -> FeedKey:
    return row["publication"], row["window_start"] or 0, row["symbol"] or "", row["exchange"] or ""


def _windows(page: Sequence[FeedKey]) -> BooleanExpression:
    """Return a condition for the windows of a page."""
    starts = {from_microseconds(key[1]) for key in page}
    return And(one_of("window_start", starts), one_of("window_date", {start.date() for start in starts}))


def _event_schema(versions: Versions, schema: pa.Schema) -> pa.Schema:
    candles = versions.stored.schema
    types = {name: candles.field(name).type for name in KEY}
    types |= {prefix + name: candles.field(name).type for prefix in (BEFORE, AFTER) for name in VALUES}
    types |= dict.fromkeys(("visible_at", "held_since"), candles.field("window_start").type)
    return pa.schema([(field.name, types.get(field.name, field.type)) for field in schema])


def _with_runs(versions: Versions, events: pa.Table) -> pa.Table:
    """Return the changes with the runs of their publications after the column `visible_at`."""
    base = versions.base.number
    runs = [versions.ledger.publications[number - base] for number in events["publication"].to_pylist()]
    position = events.column_names.index("visible_at") + 1
    for name in reversed(RUN_COLUMNS):
        kind = pa.int64() if name.endswith("snapshot") else pa.string()
        events = events.add_column(position, name, pa.array([getattr(run, name) for run in runs], kind))
    return events
