"""A candle table whose states a reader has seen, and a ledger of them written by the rules of the design."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import parquet_file_to_data_file
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Summary, update_snapshot_summaries

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model import summary_keys
from ohlcv.model.ledger_records import Publication, Trigger
from ohlcv.model.table_contracts import KEY, TableContract
from ohlcv.model.timeframes import Timeframe
from support.candle_rows import COLUMNS, Row
from support.commit_times import commits_at
from support.default_tables import candles_contract

BEGIN = datetime.fromisoformat("2026-03-01T00:00:00+00:00")
_VALUES = [name for name in COLUMNS if name not in KEY]


@dataclass(frozen=True)
class State:
    """What a reader saw from a time on."""

    seen_at: datetime
    snapshot: int | None
    rows: tuple[Row, ...]
    trigger: Trigger
    written_at: datetime | None = None
    deleted_partitions: tuple[date, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


class RecordedHistory:
    """Commits to a candle table, the states that they made, and the ledger of these states."""

    def __init__(self, settings: Settings, timeframe: Timeframe, begin: datetime = BEGIN) -> None:
        self.settings = settings
        self.timeframe = timeframe
        self.now = begin
        self.states: list[State] = []
        self.recorded = 0

    @property
    def table(self) -> Table:
        return load_table(open_catalog(self.settings), candles_contract(self.timeframe))

    @property
    def rows(self) -> tuple[Row, ...]:
        """Return the rows of the current state."""
        return self.states[-1].rows if self.states else ()

    def advance(self, duration: timedelta = timedelta(minutes=1)) -> datetime:
        """Return a later time."""
        self.now += duration
        return self.now

    def commit(
        self,
        rows: Sequence[Row],
        trigger: Trigger = "scheduled",
        written_at: datetime | None = None,
        deleted_partitions: tuple[date, ...] = (),
        **details: Any,
    ) -> State:
        """Replace the rows of the table by one commit, at a later time. Only changed partitions are rewritten."""
        now = self.advance()
        before, after = self._by_partition(self.rows), self._by_partition(rows)
        changed = {name for name in before.keys() | after.keys() if _multiset(before[name]) != _multiset(after[name])}
        summary, operation = details.pop("summary", {}), details.pop("operation", Operation.OVERWRITE)
        self._overwrite({name: after[name] for name in changed}, summary, operation)
        return self._add(now, tuple(rows), trigger, written_at, deleted_partitions, details)

    def job(self, changes: Iterable[Row] = (), deleted: Iterable[Row] = (), **details: Any) -> State:
        """Commit like a job: upsert candles, with its stamp in `created_at` and `updated_at`, and delete others."""
        stamp = self.now + timedelta(seconds=20)
        stored = {key_of(row): row for row in self.rows}
        for row in changes:
            known = stored.get(key_of(row))
            created = known["created_at"] if known else stamp
            stored[key_of(row)] = {**row, "created_at": created, "updated_at": stamp}
        for row in deleted:
            del stored[key_of(row)]
        summary = {
            summary_keys.TIMEFRAME: self.timeframe.name,
            summary_keys.DAG_ID: details.get("dag_id", self.timeframe.dag_id),
            summary_keys.RUN_ID: details.get("run_id", "scheduled__1"),
        }
        return self.commit(list(stored.values()), written_at=stamp, summary=summary, **details)

    def compact(self) -> State:
        """Rewrite all files without a change of a row."""
        now = self.advance()
        self._overwrite(self._by_partition(self.rows), {summary_keys.MAINTENANCE: "compact"}, Operation.REPLACE)
        return self._add(now, self.rows, "maintenance", None, (), {})

    def rollback(self, state: State) -> State:
        """Make the snapshot of an earlier state the current one."""
        now = self.advance()
        assert state.snapshot is not None
        with commits_at(lambda: now):
            self.table.manage_snapshots().set_current_snapshot(state.snapshot).commit()
        return self._add(now, state.rows, "rollback", None, (), {})

    def retire(self, *days: date) -> State:
        """Delete partitions as retention does."""
        kept = [row for row in self.rows if self.timeframe.partition_of(row["window_date"]) not in days]
        summary = {summary_keys.MAINTENANCE: "retention"}
        return self.commit(
            kept, trigger="retention", deleted_partitions=days, summary=summary, operation=Operation.DELETE
        )

    def with_stamp(self, state: State, written_at: datetime | None) -> State:
        """Return a state with the time at which a job wrote its snapshot."""
        return replace(state, written_at=written_at)

    def expire(self, *kept: State) -> None:
        """Remove all snapshots except the current one and those of some states."""
        table = self.table
        current = table.current_snapshot()
        keep = {state.snapshot for state in kept} | {current.snapshot_id if current else None}
        for snapshot in table.snapshots():
            if snapshot.snapshot_id not in keep:
                table.maintenance.expire_snapshots().by_id(snapshot.snapshot_id).commit()

    def record(self, upto: int | None = None, insertions_of: Collection[int] = ()) -> None:
        """Write the publications and revisions of the states that have no publication yet.

        `insertions_of`: publications whose insertions need no row, although their stamp is that of an earlier one.
        """
        end = len(self.states) if upto is None else upto
        for number in range(self.recorded + 1, end + 1):
            state = self.states[number - 1]
            base = number == 1
            if not base and state.trigger not in ("maintenance", "retention"):
                found = [
                    row for row in self._revisions(number) if number not in insertions_of or row["change"] != "inserted"
                ]
                append(self.settings, self.settings.revisions_contract, "window_start", found)
            publication = self.publication(number)
            row = {
                **publication.__dict__,
                "deleted_partitions": [str(day) for day in publication.deleted_partitions],
            }
            append(self.settings, self.settings.publications_contract, "visible_at", [row])
        self.recorded = end

    def publication(self, number: int) -> Publication:
        state = self.states[number - 1]
        return Publication(
            self.timeframe.name,
            number,
            "first" if number == 1 else state.trigger,
            state.snapshot,
            state.seen_at,
            run_id=state.details.get("run_id"),
            dag_id=state.details.get("dag_id"),
            written_at=state.written_at,
            **self._counts(number),
            deleted_partitions=state.deleted_partitions,
        )

    def _counts(self, number: int) -> dict[str, int]:
        before = _by_key(self.states[number - 2].rows if number > 1 else ())
        after = _by_key(self.states[number - 1].rows)
        changed = [key for key in before.keys() & after.keys() if _multiset(before[key]) != _multiset(after[key])]
        inserted, deleted = after.keys() - before.keys(), before.keys() - after.keys()
        return {"inserted": len(inserted), "updated": len(changed), "deleted": len(deleted)}

    def _revisions(self, number: int) -> list[Row]:
        state = self.states[number - 1]
        before, after = _by_key(self.states[number - 2].rows), _by_key(state.rows)
        stamps = [each.written_at for each in self.states[: number - 1]]
        found = []
        for key in before.keys() | after.keys():
            old, new = before[key], after[key]
            if _multiset(old) == _multiset(new):
                continue
            is_stamped = (
                len(new) == 1
                and new[0]["created_at"] == state.written_at
                and state.written_at is not None
                and state.written_at not in stamps
                and "held_since" not in state.details
            )
            if not old and is_stamped:
                continue
            change = "inserted" if not old else "updated" if new else "deleted"
            recorded = {
                **dict(zip(KEY, key, strict=True)),
                "timeframe": self.timeframe.name,
                "publication": number,
                "change": change,
                "causes": state.details.get("causes", []),
                "lateness": state.details.get("lateness"),
                "held_since": state.details.get("held_since"),
                "waived": state.details.get("waived", False),
            }
            values = old or [dict.fromkeys(_VALUES)]
            found += [{**{name: row[name] for name in _VALUES}, **recorded} for row in values]
        return found

    def _add(
        self,
        seen_at: datetime,
        rows: tuple[Row, ...],
        trigger: Trigger,
        written_at: datetime | None,
        deleted_partitions: tuple[date, ...],
        details: dict[str, Any],
    ) -> State:
        snapshot = self.table.current_snapshot()
        number = snapshot.snapshot_id if snapshot else None
        state = State(seen_at, number, rows, trigger, written_at, deleted_partitions, details)
        self.states.append(state)
        return state

    def _by_partition(self, rows: Iterable[Row]) -> dict[date, list[Row]]:
        found: dict[date, list[Row]] = defaultdict(list)
        for row in rows:
            found[self.timeframe.partition_of(row["window_date"])].append(row)
        return found

    def _overwrite(self, partitions: dict[date, list[Row]], summary: dict[str, str], operation: Operation) -> None:
        table = self.table
        numbers = {self.timeframe.partition_number(day) for day in partitions}
        replaced = [task.file for task in table.scan().plan_files() if task.file.partition[0] in numbers]
        with commits_at(lambda: self.now), _operation(operation), table.transaction() as transaction:
            # Its files have no field ids.
            if table.name_mapping is not None and "schema.name-mapping.default" not in table.properties:
                transaction.set_properties(
                    {"schema.name-mapping.default": table.schema().name_mapping.model_dump_json()}
                )
            with transaction.update_snapshot(snapshot_properties=summary).overwrite() as snapshot:
                for file in replaced:
                    snapshot.delete_data_file(file)
                for name, rows in partitions.items():
                    if rows:
                        path = _write(self.settings, table, f"candles-{name}", rows)
                        snapshot.append_data_file(parquet_file_to_data_file(table.io, table.metadata, path))


@contextmanager
def _operation(operation: Operation) -> Iterator[None]:
    """Make the commits in the block those of an operation. pyiceberg itself writes no `replace`."""

    def make(summary: Summary, previous_summary: Mapping[str, str] | None = None) -> Summary:
        return Summary(operation, **update_snapshot_summaries(summary, previous_summary).additional_properties)

    with patch("pyiceberg.table.update.snapshot.update_snapshot_summaries", make):
        yield


def append(settings: Settings, contract: TableContract, time: str, rows: Sequence[Row]) -> None:
    """Append rows to a table of the ledger, one file per timeframe and month."""
    table = load_table(open_catalog(settings), contract)
    partitions: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        partitions[f"{row['timeframe']}-{row[time]:%Y-%m}"].append(row)
    files = [_write(settings, table, f"{contract.name}-{name}", found) for name, found in partitions.items()]
    if files:
        table.add_files(files, check_duplicate_files=False)


def seen(rows: Iterable[Row]) -> Counter[tuple[Any, ...]]:
    """Return rows in a form that does not depend on their order."""
    return _multiset(rows)


def at_state(history: RecordedHistory, moment: datetime) -> State | None:
    """Return what a reader saw at a time."""
    return next((state for state in reversed(history.states) if state.seen_at <= moment), None)


def _write(settings: Settings, table: Table, name: str, rows: Sequence[Row]) -> str:
    schema = pa.schema([(each.name, each.type) for each in table.schema().as_arrow()])
    file = settings.home / f"{name}-{uuid4()}.parquet"
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), file)
    return file.as_uri()


def key_of(row: Row) -> tuple[Any, ...]:
    """Return the key of a candle."""
    return tuple(row[name] for name in KEY)


def _by_key(rows: Iterable[Row]) -> dict[tuple[Any, ...], list[Row]]:
    found: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        found[key_of(row)].append(row)
    return found


def _multiset(rows: Iterable[Row]) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row[name] for name in COLUMNS) for row in rows)
