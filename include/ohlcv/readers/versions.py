"""Versions of candles: how the ledger's revisions and one stored snapshot tell what readers saw at any time.

A version is the state of a candle from one publication to another. This module has all rules; every answer about the
past is a query on the relation `versions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import reduce
from itertools import accumulate
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import (
    AlwaysFalse,
    AlwaysTrue,
    And,
    BooleanExpression,
    EqualTo,
    GreaterThan,
    GreaterThanOrEqual,
    IsNull,
    LessThan,
    LessThanOrEqual,
    Or,
    Reference,
)
from pyiceberg.expressions.visitors import BooleanExpressionVisitor, bind, visit
from pyiceberg.io.pyarrow import expression_to_pyarrow
from pyiceberg.table import Table

from ohlcv.iceberg.damage import report_damage
from ohlcv.model.intervals import EPOCH, to_microseconds
from ohlcv.model.ledger_records import Ledger, Publication
from ohlcv.model.table_contracts import CANDLE_COLUMNS, REVISION_COLUMNS
from ohlcv.model.timeframes import DAY, Timeframe
from ohlcv.readers.candles import integer_times
from ohlcv.readers.scans import StoredCandles, compare

# Columns that the rules need.
_RULE_COLUMNS = ("symbol", "exchange", "window_start", "created_at", "updated_at")
# `until` of the versions that the newest recorded publication shows.
OPEN_END = 2**62
_REVISION_NAMES = tuple(column.name for column in REVISION_COLUMNS)
_SAME_KEY = " AND ".join(
    f"{{0}}.{name} IS NOT DISTINCT FROM {{1}}.{name}" for name in ("symbol", "exchange", "window_start")
)

# Tables: `stored` (rows of the checkpoint's snapshot), `replaced` (old rows of revisions), `revisions`, `publications`
# and `deletions` (partitions that retention deleted, as days).
#
# An event is a recorded change of a key: four times the number of its publication, plus 0 if the key has no row after
# it, 1 if its rows changed, 2 if they are new. Retention deletes without a revision. Jobs insert without one: the
# candle's `created_at` is then the `written_at` of the publication, and no event since then has shown the candle.
_VERSIONS = f"""
    CREATE TEMP TABLE versions AS
    WITH keys AS (
        SELECT symbol, exchange, window_start FROM revisions
        UNION
        SELECT symbol, exchange, window_start FROM stored WHERE (SELECT count(*) FROM deletions) > 0
    ),
    events AS (
        SELECT symbol, exchange, window_start, publication,
            max(4 * publication + CASE change WHEN 'deleted' THEN 0 WHEN 'updated' THEN 1 ELSE 2 END) AS event
        FROM revisions
        GROUP BY ALL
        UNION ALL
        SELECT symbol, exchange, window_start, number, 4 * number
        FROM keys JOIN deletions ON window_start >= first_time AND window_start < end_time
    ),
    ordered AS (
        SELECT *, lag(event) OVER (PARTITION BY symbol, exchange, window_start ORDER BY event) AS previous FROM events
    ),
    last_events AS (SELECT symbol, exchange, window_start, max(event) AS previous FROM events GROUP BY ALL),
    rows AS (
        SELECT replaced.*, previous
        FROM replaced JOIN ordered
            ON replaced.until = ordered.publication AND {_SAME_KEY.format("replaced", "ordered")}
        UNION ALL BY NAME
        SELECT stored.*, $open_end AS until, previous
        FROM stored LEFT JOIN last_events ON {_SAME_KEY.format("stored", "last_events")}
    ),
    stamped AS (
        SELECT *, (
            SELECT min(number) FROM publications
            WHERE written_at = created_at AND number >= coalesce(previous // 4 + 1, 0) AND number < until
        ) AS stamp
        FROM rows
    )
    SELECT * EXCLUDE (previous, stamp),
        CASE WHEN previous % 4 > 0 THEN previous // 4 ELSE coalesce(stamp, previous // 4, $base) END AS since,
        coalesce(
            CASE WHEN previous % 4 > 0 THEN previous % 4 = 2
                ELSE previous IS NOT NULL OR stamp > $base OR created_at = updated_at END,
            false
        ) AS is_first
    FROM stamped
"""


@dataclass(frozen=True)
class Versions:
    """The recorded versions of the candles of a table, since its ledger began or after its last gap."""

    timeframe: Timeframe
    ledger: Ledger
    # Candles of the checkpoint's snapshot.
    stored: StoredCandles
    # The table of revisions.
    revisions: Table

    @property
    def base(self) -> Publication:
        return self.ledger.publications[0]

    @property
    def checkpoint(self) -> Publication:
        return self.ledger.publications[-1]

    def query(
        self,
        sql: str,
        condition: BooleanExpression,
        values: Mapping[str, Any] | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Return the result of a query on `versions`, with the rows that meet a condition on candles.

        The tables are those of `_VERSIONS`; times are microseconds, dates are days since 1970. `columns`: those of
        candles that the query needs, by default all.
        """
        needed = [each.name for each in CANDLE_COLUMNS if columns is None or each.name in (*_RULE_COLUMNS, *columns)]
        stored = self.stored.rows(condition, needed)
        revisions = self.read_revisions(condition, _REVISION_NAMES)
        # The condition may exclude old rows of a key, but none of its events.
        matches = expression_to_pyarrow(bind(self.stored.table.schema(), condition, case_sensitive=True))
        replaced = revisions.filter(pc.field("change") != "inserted").filter(matches)
        replaced = replaced.select([*stored.column_names, "publication"]).rename_columns(
            [*stored.column_names, "until"]
        )
        tables = {
            "stored": stored,
            "replaced": replaced,
            "revisions": revisions,
            "publications": self._publications(),
            "deletions": self._deletions(),
        }
        with duckdb.connect() as connection:
            for name, table in tables.items():
                connection.register(name, table.cast(integer_times(table.schema)))
            connection.execute(_VERSIONS, {"open_end": OPEN_END, "base": self.base.number})
            return connection.sql(sql, params=dict(values or {})).to_arrow_table()

    def candles(
        self,
        sql: str,
        condition: BooleanExpression,
        values: Mapping[str, Any] | None = None,
        columns: Sequence[str] | None = None,
        extra: str = "",
    ) -> pa.Table:
        """Return candles by a query whose `{columns}` stand for their columns, with the types of the table.

        `extra`: further columns of the query.
        """
        schema = self.stored.schema
        names = columns or schema.names
        selected = ", ".join([*names, extra] if extra else names)
        found = self.query(sql.format(columns=selected), condition, values, columns)
        types = {name: schema.field(name).type for name in names}
        return found.cast(pa.schema([(field.name, types.get(field.name, field.type)) for field in found.schema]))

    def read_revisions(
        self, condition: BooleanExpression, columns: tuple[str, ...], first: int = 0, last: int = OPEN_END
    ) -> pa.Table:
        """Return the recorded revisions of the keys that may meet a condition on candles, and of some publications."""
        recorded = And(
            compare(EqualTo, "timeframe", self.timeframe.name),
            compare(GreaterThanOrEqual, "publication", max(first, self.base.number + 1)),
            # A recording that has not ended may have written newer ones.
            compare(LessThanOrEqual, "publication", min(last, self.checkpoint.number)),
        )
        scan = self.revisions.scan(And(recorded, visit(condition, _KeyCondition())), columns)
        with report_damage(self.revisions, scan):
            found = scan.to_arrow()
        arrow = self.revisions.schema().as_arrow()
        return found.select(columns).cast(pa.schema([(name, arrow.field(name).type) for name in columns]))

    def partitions(self, condition: BooleanExpression, number: int | None = None) -> list[int]:
        """Return the partitions that may have versions of matching candles, newest first.

        With a number, those that may have a version which that publication showed.
        """
        shown = condition if number is None else And(condition, self._outside_stamps(number))
        stored = self.stored.partitions(shown)
        keys = self.read_revisions(condition, ("window_start", "publication", "change"))
        if number is not None:
            keys = keys.filter((pc.field("publication") <= number) | (pc.field("change") != "inserted"))
        days = pc.unique(pc.floor_temporal(keys["window_start"], unit="day").drop_null()).to_pylist()
        replaced = {self.timeframe.partition_number(day.astimezone(UTC).date()) for day in days}
        return sorted(replaced.union(stored), reverse=True)

    def _outside_stamps(self, number: int) -> BooleanExpression:
        """Return the filter for candles of which a publication may show a version: by their time of creation.

        Candles in the range of the later stamps are left out.
        """
        stamps = [each.written_at for each in self.ledger.publications if each.number > number and each.written_at]
        if not stamps:
            return AlwaysTrue()
        # Clocks of several writers may differ: candles that the ledger began with or that a publication up to this one
        # inserted may be in the range.
        shown = [each.written_at for each in self.ledger.publications if each.number <= number and each.written_at]
        before = Or(
            compare(LessThan, "created_at", min(stamps)),
            compare(LessThanOrEqual, "created_at", max([self.base.visible_at, *shown])),
        )
        # Another writer may have given a candle any time.
        return Or(before, Or(compare(GreaterThan, "created_at", max(stamps)), _is_null("created_at")))

    def deleted_days(self, number: int) -> list[date]:
        """Return the first days of the partitions that retention deleted after a publication, in their order."""
        later = (each for each in self.ledger.publications if each.number > number)
        return sorted({day for each in later for day in each.deleted_partitions})

    def outside_deleted(self, number: int) -> BooleanExpression:
        """Return the filter for candles outside the partitions that retention deleted after a publication."""
        everything: BooleanExpression = AlwaysTrue()
        outside = (
            Or(
                compare(LessThan, "window_date", day),
                compare(GreaterThanOrEqual, "window_date", self.timeframe.next_partition(day)),
                _is_null("window_date"),
            )
            for day in self.deleted_days(number)
        )
        return reduce(_both, outside, everything)

    def available_from(self, number: int) -> datetime | None:
        """Return the end of the newest partition that retention deleted after a publication, None if there is none."""
        days = self.deleted_days(number)
        return datetime.combine(self.timeframe.next_partition(days[-1]), time(), UTC) if days else None

    def _publications(self) -> pa.Table:
        # Clocks of several clients may differ: readers have seen a publication when they could see a later one.
        times = [to_microseconds(each.visible_at) for each in self.ledger.publications]
        seen = list(accumulate(reversed(times), min))[::-1]
        return pa.table(
            {
                "number": pa.array([each.number for each in self.ledger.publications], pa.int64()),
                "seen_at": pa.array(seen, pa.int64()),
                "visible_at": pa.array(times, pa.int64()),
                "written_at": pa.array([_micros(each.written_at) for each in self.ledger.publications], pa.int64()),
            }
        )

    def _deletions(self) -> pa.Table:
        found = [(each.number, day) for each in self.ledger.publications for day in each.deleted_partitions]
        day_microseconds = DAY // timedelta(microseconds=1)
        first = [(day - EPOCH.date()).days * day_microseconds for _, day in found]
        end = [(self.timeframe.next_partition(day) - EPOCH.date()).days * day_microseconds for _, day in found]
        columns = ([number for number, _ in found], first, end)
        return pa.table(
            [pa.array(column, pa.int64()) for column in columns], names=["number", "first_time", "end_time"]
        )


def _is_null(column: str) -> BooleanExpression:
    return IsNull(term=Reference(column))


def _both(left: BooleanExpression, right: BooleanExpression) -> BooleanExpression:
    return And(left, right)


def _micros(time: datetime | None) -> int | None:
    return None if time is None else to_microseconds(time)


class _KeyCondition(BooleanExpressionVisitor[BooleanExpression]):
    """Conversion of a condition on candles to one on their keys: `window_date` to the same range of `window_start`.

    A revision without an old row has no `window_date`.
    """

    def visit_true(self) -> BooleanExpression:
        return AlwaysTrue()

    def visit_false(self) -> BooleanExpression:
        return AlwaysFalse()

    def visit_not(self, child_result: BooleanExpression) -> BooleanExpression:
        raise NotImplementedError

    def visit_and(self, left_result: BooleanExpression, right_result: BooleanExpression) -> BooleanExpression:
        return And(left_result, right_result)

    def visit_or(self, left_result: BooleanExpression, right_result: BooleanExpression) -> BooleanExpression:
        return Or(left_result, right_result)

    def visit_unbound_predicate(self, predicate: Any) -> BooleanExpression:
        if predicate.term.name in ("symbol", "exchange", "window_start"):
            found: BooleanExpression = predicate
            return found
        is_bound = isinstance(predicate, (LessThan, LessThanOrEqual, GreaterThanOrEqual))
        if predicate.term.name != "window_date" or not is_bound:
            return AlwaysTrue()
        midnight = datetime.combine(EPOCH.date() + predicate.literal.value * DAY, time(), UTC)
        if isinstance(predicate, LessThanOrEqual):
            # The last day of the year 9999 has no next one.
            is_last = midnight.date() == date.max
            return AlwaysTrue() if is_last else compare(LessThan, "window_start", midnight + DAY)
        return compare(type(predicate), "window_start", midnight)

    def visit_bound_predicate(self, predicate: Any) -> BooleanExpression:
        raise NotImplementedError
