"""The trades table of a random history: each step changes the real table and its model."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from pyiceberg.expressions import In
from pyiceberg.table import Table

from support.harness import Harness
from support.random_history_model import EPOCH, SourceModel, has_hour, microseconds
from support.random_history_steps import CompactSource, Delete, Deliver, DropHours, ExpireSource, Rewrite, Row
from support.reference_model import Trade

# The column that has the numbers of rows.
NUMBER = "currency"
# Ingestion times before and after all others. Each is equal for all rows that have it.
EARLY, LATE = 1_000, microseconds(datetime(2100, 1, 1, tzinfo=UTC))


class SourceTable:
    """The trades table. The names of the methods are those of the steps."""

    def __init__(self, harness: Harness, row_group: int) -> None:
        self._harness = harness
        self.model = SourceModel()
        with self._table.transaction() as transaction:
            transaction.set_properties({"write.parquet.row-group-limit": str(row_group)})

    @property
    def _table(self) -> Table:
        return self._harness.table()

    def deliver(self, step: Deliver) -> None:
        for part in _parts(step.rows, step.commits):
            trades = {row.number: _arrived(row) for row in part}
            self._table.append(self._arrow(trades))
            self.model.add(trades)
            self._committed()

    def delete(self, step: Delete) -> None:
        numbers = [number for number in step.numbers if number in self.model.rows]
        if not numbers:
            return
        if step.by == "pyiceberg":
            # The types of pyiceberg's expressions are those of its validators.
            condition: Any = In
            self._table.delete(condition(NUMBER, [str(number) for number in numbers]))
        else:
            listed = ", ".join(f"'{number}'" for number in numbers)
            self._set_delete_mode(step.by)
            self._sql(f"DELETE FROM {{trades}} WHERE {NUMBER} IN ({listed})")
            # pyiceberg warns of the other mode.
            self._set_delete_mode("copy-on-write")
        self.model.remove(numbers)
        self._committed()

    def drop_hours(self, step: DropHours) -> None:
        for hour in step.hours:
            if numbers := list(self.model.by_hour.get(hour, {})):
                self._table.delete(_hour_filter(hour))
                self.model.remove(numbers)
                self._committed()

    def rewrite(self, step: Rewrite) -> None:
        for hour in step.hours:
            trades = list(self.model.by_hour.get(hour, {}).items())
            if not trades:
                continue
            random.Random(step.seed).shuffle(trades)
            with self._table.transaction() as transaction:
                transaction.delete(_hour_filter(hour))
                for part in _parts(trades, step.files):
                    transaction.append(self._arrow(dict(part)))
            self.model.rewrite([hour])
            self._committed()

    def compact_source(self, step: CompactSource) -> None:
        before = self.model.snapshot
        if before is None:
            return
        self._sql(
            "CALL iceberg.system.rewrite_data_files(table => 'market_data.gold_crypto_trades', "
            f"where => \"exchange_date = DATE '{step.day}'\", options => map('rewrite-all', 'true'))"
        )
        if self._current()[0] != before:
            first = (datetime(step.day.year, step.day.month, step.day.day, tzinfo=UTC) - EPOCH) // timedelta(hours=1)
            self.model.rewrite(range(first, first + 24))
            self._committed()

    def expire_source(self, step: ExpireSource) -> None:
        table = self._table
        numbers = [each.snapshot_id for each in sorted(table.snapshots(), key=lambda each: each.sequence_number or 0)]
        expired = [each for each in numbers[: -step.keep] if each != self.model.snapshot]
        if expired:
            table.maintenance.expire_snapshots().by_ids(expired).commit()
        self.model.live = {each.snapshot_id for each in self._table.snapshots()}

    def rows_of_hours_until(self, hour: int) -> list[Trade]:
        """Return the rows of all hours up to one."""
        return [trade for each, trades in self.model.by_hour.items() if each <= hour for trade in trades.values()]

    def rows_without_hour(self) -> int:
        return sum(not has_hour(trade) for trade in self.model.rows.values())

    def _set_delete_mode(self, mode: str) -> None:
        with self._table.transaction() as transaction:
            transaction.set_properties({"write.delete.mode": mode})

    def _sql(self, statement: str) -> None:
        # Spark remembers the tables of a session, and pyiceberg has changed them.
        self._harness.sql("REFRESH TABLE {trades}")
        self._harness.sql(statement)

    def _committed(self) -> None:
        number, time = self._current()
        self.model.snapshot, self.model.committed_at = number, time * 1000
        if number is not None:
            self.model.live.add(number)

    def _current(self) -> tuple[int | None, int]:
        snapshot = self._table.current_snapshot()
        return (None, 0) if snapshot is None else (snapshot.snapshot_id, snapshot.timestamp_ms)

    def _arrow(self, trades: dict[int, Trade]) -> pa.Table:
        rows: list[dict[str, Any]] = [
            {**asdict(trade), "asset_class": "crypto", NUMBER: str(number)} for number, trade in trades.items()
        ]
        return pa.Table.from_pylist(rows, schema=self._table.schema().as_arrow())


def _arrived(row: Row) -> Trade:
    now = microseconds(datetime.now(UTC))
    times = {"now": now, "null": None, "early": EARLY, "tie": LATE}
    return replace(row.trade, ingestion_timestamp=times[row.arrival])


def _hour_filter(hour: int) -> str:
    start = EPOCH + timedelta(hours=hour)
    return f"exchange_date = '{start.date()}' AND exchange_hour = {start.hour}"


def _parts(values: Sequence[Any], number: int) -> Iterable[Sequence[Any]]:
    return [part for part in (values[first::number] for first in range(number)) if part]
