"""Steps that check a catalog, the same for pyiceberg and for Iceberg's Java library.

A scratch table is created, written and dropped. No other table is changed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from ohlcv.model.catalog_causes import STORE_CAUSES, Cause, find_cause
from ohlcv.model.table_names import Identifier, TableNames, dotted

Step = Literal[
    "reach", "authenticate", "list", "read trades", "create", "commit", "roll back", "history", "gc.enabled", "drop"
]

# Names with this prefix belong to the check. The rest of the name is random.
SCRATCH_PREFIX = "ohlcv_doctor_"
# Largest number of tables that a result lists.
MAX_LISTED = 2


@dataclass(frozen=True)
class StepResult:
    """Result of one step. A problem has the texts of its errors, outermost first, as "Class: message"."""

    step: Step
    state: Literal["ok", "warning", "fault"]
    # What was found. For a problem, the table, namespace or location that it concerns.
    found: str
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChainRequest:
    """Names that a check uses."""

    # Namespace of the candle tables.
    namespace: Identifier
    trades: Identifier
    # Tables whose snapshots the maintenance expires: the candle tables, which may be missing.
    candles: tuple[Identifier, ...]
    # Name of the scratch table, and of its namespace if that of the candle tables does not exist.
    scratch: str

    def scratch_table(self, namespace_exists: bool) -> Identifier:
        """Return the identifier of the scratch table."""
        return (*(self.namespace if namespace_exists else (self.scratch,)), self.scratch)


def chain_request(names: TableNames, timeframes: Iterable[str], scratch: str) -> ChainRequest:
    """Return the request of a check with these names, of candle tables of these timeframes."""
    candles = tuple(names.candle_table(timeframe) for timeframe in timeframes)
    return ChainRequest(names.candles[:-1], names.trades, candles, scratch)


def new_scratch_name() -> str:
    """Return a name that no other table has. Glue and Hive accept only lower case."""
    return SCRATCH_PREFIX + secrets.token_hex(8)


class RemainingFilesError(Exception):
    """Files of a purged table still exist."""


class CatalogClient(Protocol):
    """A client of the catalog. Its methods raise the errors of its libraries."""

    def connect(self) -> None:
        """Open the catalog."""

    def list_tables(self, namespace: Identifier) -> Sequence[str] | None:
        """Return the names of the tables, or None if the namespace does not exist."""

    def create_namespace(self, namespace: Identifier) -> None:
        """Create a namespace."""

    def drop_namespace(self, namespace: Identifier) -> None:
        """Drop an empty namespace."""

    def create_table(self, table: Identifier) -> str:
        """Create a table with one column, and return its location."""

    def append_row(self, table: Identifier) -> None:
        """Append a row in one commit."""

    def read_rows(self, table: Identifier, limit: int) -> int:
        """Read at most so many rows, and return their number."""

    def snapshots(self, table: Identifier) -> Sequence[int]:
        """Return the ids of the snapshots that the catalog shows, oldest first."""

    def roll_back(self, table: Identifier, snapshot: int) -> None:
        """Make an older snapshot the current one."""

    def deletes_files(self, table: Identifier) -> bool | None:
        """Return whether the table's property gc.enabled permits that files are deleted; None without the table."""

    def drop_table(self, table: Identifier, purge: bool) -> bool:
        """Drop a table, with `purge` also its files. Return False if it does not exist.

        Raise RemainingFilesError if files remain although no error was reported.
        """

    def error_texts(self, error: Exception) -> list[str]:
        """Return an error and its causes, outermost first, each as "Class: message" in one line."""


def check_chain(client: CatalogClient, request: ChainRequest) -> list[StepResult]:
    """Run all steps in order and return their results. A step that needs one with a fault is omitted."""
    try:
        client.connect()
        names = client.list_tables(request.namespace)
    # The clients raise errors of many libraries: HTTP, SQL, Thrift, AWS, Java.
    except Exception as error:
        return list(_connection_results(client.error_texts(error), request))
    namespace = dotted(request.namespace)
    listed = f"the namespace {namespace} does not exist yet" if names is None else f"{len(names)} tables in {namespace}"
    results = [StepResult("reach", "ok", ""), StepResult("authenticate", "ok", ""), StepResult("list", "ok", listed)]
    results.append(_run(client, "read trades", dotted(request.trades), lambda: _read_trades(client, request.trades)))
    table = request.scratch_table(names is not None)
    try:
        results += _ScratchSteps(client, table, names is not None).results()
        # Without the store no metadata can be read, and Iceberg's Java library repeats each attempt for 90 s.
        if not any(result.step == "create" and find_cause(result.errors) in STORE_CAUSES for result in results):
            results.append(_deletion_result(client, (*request.candles, table)))
    finally:
        results += drop_scratch(client, table, names is not None)
    return results


def _connection_results(errors: list[str], request: ChainRequest) -> Iterator[StepResult]:
    """Yield the results of the first steps. One request to a service can fail for the reason of each of them."""
    refused: dict[Cause, Step] = {
        Cause.LOGIN: "authenticate",
        Cause.NO_CREDENTIAL: "authenticate",
        Cause.FORBIDDEN: "list",
    }
    failed = refused.get(find_cause(errors), "reach")
    steps: tuple[Step, ...] = ("reach", "authenticate", "list")
    for step in steps[: steps.index(failed)]:
        yield StepResult(step, "ok", "")
    yield StepResult(failed, "fault", dotted(request.namespace), tuple(errors))


def _run(client: CatalogClient, step: Step, subject: str, work: Callable[[], str]) -> StepResult:
    try:
        return StepResult(step, "ok", work())
    except Exception as error:
        return StepResult(step, "fault", subject, tuple(client.error_texts(error)))


def _read_trades(client: CatalogClient, trades: Identifier) -> str:
    rows, snapshots = client.read_rows(trades, 1), len(client.snapshots(trades))
    found = f"a row of {dotted(trades)} is read" if rows else f"{dotted(trades)} is readable and empty"
    return f"{found}; the catalog shows {snapshots:,} of its snapshots"


@dataclass(frozen=True)
class _ScratchSteps:
    """Steps that write to the scratch table."""

    client: CatalogClient
    table: Identifier
    namespace_exists: bool

    def results(self) -> Iterator[StepResult]:
        """Yield the results up to the first fault."""
        writes: dict[Step, Callable[[], str]] = {"create": self._create, "commit": self._commit}
        for step, work in writes.items():
            result = self._run(step, work)
            yield result
            if result.state == "fault":
                return
        history = self._run("history", self._history)
        if history.state == "ok" and len(self.client.snapshots(self.table)) < 2:
            # Without an older snapshot there is nothing to return to.
            yield replace(history, state="warning")
        else:
            yield self._run("roll back", self._roll_back)
            yield history

    def _run(self, step: Step, work: Callable[[], str]) -> StepResult:
        return _run(self.client, step, dotted(self.table), work)

    def _create(self) -> str:
        if not self.namespace_exists:
            self.client.create_namespace(self.table[:-1])
        return self.client.create_table(self.table)

    def _commit(self) -> str:
        # Two commits: a snapshot to return to, and the current one.
        for _ in range(2):
            self.client.append_row(self.table)
        self._expect_rows(2)
        return "two commits, whose rows are read again"

    def _history(self) -> str:
        return f"{len(self.client.snapshots(self.table))} of 2 snapshots"

    def _roll_back(self) -> str:
        self.client.roll_back(self.table, self.client.snapshots(self.table)[0])
        self._expect_rows(1)
        return "to the first commit"

    def _expect_rows(self, expected: int) -> None:
        found = self.client.read_rows(self.table, 10)
        if found != expected:
            raise RuntimeError(f"{found} rows are read instead of {expected}")


def _deletion_result(client: CatalogClient, tables: Iterable[Identifier]) -> StepResult:
    disabled: list[str] = []

    def check() -> str:
        disabled.extend(dotted(table) for table in tables if client.deletes_files(table) is False)
        if len(disabled) > MAX_LISTED:
            return f"{', '.join(disabled[:MAX_LISTED])} and {len(disabled) - MAX_LISTED} more tables"
        return ", ".join(disabled) or "old snapshots and their files may be deleted"

    result = _run(client, "gc.enabled", "", check)
    return replace(result, state="warning") if disabled and result.state == "ok" else result


def drop_scratch(client: CatalogClient, table: Identifier, namespace_exists: bool) -> list[StepResult]:
    """Drop the scratch table, and its namespace if that belongs to it. Return nothing if neither exists."""
    name = dotted(table)
    results = []
    try:
        if client.drop_table(table, purge=True):
            results.append(StepResult("drop", "ok", f"{name} with its files"))
    except Exception as error:
        purge_errors = tuple(client.error_texts(error))
        try:
            if client.drop_table(table, purge=False) or isinstance(error, RemainingFilesError):
                results.append(StepResult("drop", "warning", name, purge_errors))
        except Exception as second_error:
            results.append(StepResult("drop", "fault", name, tuple(client.error_texts(second_error))))
    if not namespace_exists:
        try:
            client.drop_namespace(table[:-1])
        except Exception as error:
            results.append(StepResult("drop", "fault", dotted(table[:-1]), tuple(client.error_texts(error))))
    return results
