"""History of operations on one table, and the search for a serial explanation of it.

The published snapshots of a table are its states in order. Each must be the result of exactly one recorded operation on
the state before, in an order that real time permits: an operation that returned before another began comes first. An
operation that published nothing must have had nothing to change in a state that existed while it ran.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from support.reference_model import Candle

# A row that is stored twice counts twice.
Rows = Counter[Candle]
Effect = Callable[[Rows], Rows]


@dataclass(frozen=True)
class Operation:
    """A recorded operation."""

    # Also in the summary of the snapshots that it publishes.
    name: str
    kind: str
    # Times of one clock.
    invoked: int
    # None: nobody knows when it ended.
    returned: int | None
    # `unknown`: killed, or its answer was lost.
    outcome: Literal["ok", "failed", "unknown"]
    # Why it failed.
    error: str = ""
    # One for each snapshot that it publishes, in their order. None for a read.
    steps: tuple[Effect, ...] = ()
    # Whether it publishes the first step any number of times, as a compaction does.
    repeats: bool = False
    # The rows that a read returned.
    observed: Rows | None = None
    # The positions of the trades snapshots that it used, that it must have seen at least, and that existed at most.
    trades: tuple[int, int, int] | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}, {self.outcome})"


@dataclass(frozen=True)
class State:
    """The rows of a table after a published snapshot, and the operation named in its summary."""

    snapshot: int
    operation: str | None
    rows: Rows


class History:
    """The operations and the states of one table. The first state has no operation: that before the history."""

    def __init__(self, operations: Sequence[Operation], states: Sequence[State]) -> None:
        self.operations = operations
        self.states = states
        self._by_name = {each.name: each for each in operations}
        assert len(self._by_name) == len(operations), "two operations have the same name"
        self._positions: dict[str, list[int]] = {}
        for position, state in enumerate(states):
            if position and state.operation in self._by_name:
                self._positions.setdefault(str(state.operation), []).append(position)

    def problems(self) -> list[str]:
        """Return why the history has no serial explanation, [] if it has one."""
        found = [*self._unexplained(), *self._wrong_results(), *self._stale_trades(), *self._wrong_order()]
        return found or list(self._impossible_reads())

    def _unexplained(self) -> Iterator[str]:
        for position, state in enumerate(self.states):
            if not position:
                continue
            operation = self._by_name.get(str(state.operation))
            if operation is None:
                yield f"snapshot {position}: no recorded operation explains it ({state.operation})"
            elif operation.outcome == "failed":
                yield f"snapshot {position}: {operation} has reported that it changed nothing"

    def _wrong_results(self) -> Iterator[str]:
        for name, positions in self._positions.items():
            operation = self._by_name[name]
            before = self.states[positions[0] - 1].rows
            steps = operation.steps
            if operation.repeats:
                steps *= len(positions)
            elif len(positions) < len(steps):
                # A step that changes nothing publishes nothing.
                steps = tuple(step for step in steps if step(before) != before)
            if len(positions) != len(steps):
                yield f"{operation} published {len(positions)} snapshots, not {len(steps)}"
                continue
            for position, step in zip(positions, steps, strict=True):
                expected, rows = step(self.states[position - 1].rows), self.states[position].rows
                if rows != expected:
                    yield f"snapshot {position}: {operation} does not explain it: {_difference(expected, rows)}"

    def _stale_trades(self) -> Iterator[str]:
        for operation in self.operations:
            if operation.trades is not None:
                used, least, most = operation.trades
                if not least <= used <= most:
                    yield f"{operation} used trades snapshot {used}, not one of {least} to {most}"

    def _wrong_order(self) -> Iterator[str]:
        for operation in self.operations:
            for position in self._positions.get(operation.name, []):
                first, last = self._bounds(operation)
                if not first < position <= last:
                    yield f"snapshot {position}: {operation} must lie between snapshots {first} and {last}"

    def _bounds(self, operation: Operation) -> tuple[int, int]:
        """Return the last state of all operations that returned before, and the last one before those that began later.

        Snapshots of the operation itself do not count.
        """
        first, last = 0, len(self.states) - 1
        for name, positions in self._positions.items():
            other = self._by_name[name]
            if name == operation.name:
                continue
            if other.returned is not None and other.returned < operation.invoked:
                first = max(first, positions[-1])
            if operation.returned is not None and other.invoked > operation.returned:
                last = min(last, positions[0] - 1)
        return first, last

    def _impossible_reads(self) -> Iterator[str]:
        """Place the operations that published nothing, each at the first state that explains it.

        The first is the best choice: it leaves the most states to the operations that follow.
        """
        placed: list[tuple[Operation, int]] = []
        for operation in sorted(self.operations, key=lambda each: each.invoked):
            if operation.name in self._positions or operation.outcome != "ok":
                continue
            first, last = self._bounds(operation)
            before = [
                position
                for other, position in placed
                if other.returned is not None and other.returned < operation.invoked
            ]
            first = max([first, *before])
            found = next((p for p in range(first, last + 1) if _is_unchanged(operation, self.states[p].rows)), None)
            if found is None:
                yield f"{operation} published nothing, but no state from {first} to {last} explains that"
            else:
                placed.append((operation, found))

    def summary(self) -> str:
        """Return how many operations and snapshots the history has."""
        kinds = Counter[str](each.kind for each in self.operations)
        outcomes = Counter[str](each.outcome for each in self.operations)
        published = sum(map(len, self._positions.values()))
        silent = sum(each.name not in self._positions for each in self.operations)
        return (
            f"{len(self.operations)} operations ({_counts(kinds)}; {_counts(outcomes)}), "
            f"{published} snapshots of {len(self._positions)} operations, {silent} published nothing"
        )


def _is_unchanged(operation: Operation, rows: Rows) -> bool:
    if operation.observed is not None:
        return operation.observed == rows
    return all(step(rows) == rows for step in operation.steps)


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _difference(expected: Rows, found: Rows) -> str:
    missing, added = expected - found, found - expected
    twice = [candle for candle, count in found.items() if count > 1]
    first = next(iter([*missing, *added]))
    return (
        f"{missing.total()} rows missing, {added.total()} not expected, {len(twice)} stored twice, the first: "
        f"{first.symbol} {first.exchange} {first.window_start_us}"
    )
