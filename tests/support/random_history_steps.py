"""Steps of a random history: plain values, so that a failing history can be shortened and printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from typing import Any, Literal

from support.reference_model import Trade

# When a row arrives: now, never (null), at a constant early time, or at a constant late one, so that versions tie.
Arrival = Literal["now", "null", "early", "tie"]
# What deletes trades: a client that rewrites files, Spark that rewrites files, or Spark that writes position deletes.
Deleter = Literal["pyiceberg", "copy-on-write", "merge-on-read"]
# How a run was started. A cleared run has the id of a scheduled one.
Start = Literal["cleared", "backfill", "manual"]
# Rows of a delivery that are printed. The command that repeats a history has all.
MAX_SHOWN = 20


@dataclass(frozen=True)
class Row:
    """A row of the trades table. Its number is stored in a column that no candle depends on."""

    number: int
    # Without the ingestion time, which is that of the step.
    trade: Trade
    arrival: Arrival = "now"


@dataclass(frozen=True)
class Crash:
    """An error in the middle of a run that no code handles, at the n-th call of a function."""

    point: str
    call: int = 1


@dataclass(frozen=True)
class Deliver:
    """Append rows, each part in a commit of its own."""

    rows: tuple[Row, ...]
    commits: int = 1


@dataclass(frozen=True)
class Delete:
    """Delete single rows."""

    numbers: tuple[int, ...]
    by: Deleter = "pyiceberg"


@dataclass(frozen=True)
class Rewrite:
    """Store the same rows of hours in another order and in another number of files."""

    hours: tuple[int, ...]
    files: int
    seed: int


@dataclass(frozen=True)
class CompactSource:
    """Merge the files of the hours of a day."""

    day: date


@dataclass(frozen=True)
class DropHours:
    """Delete all rows of hours, as the retention of the source does."""

    hours: tuple[int, ...]


@dataclass(frozen=True)
class ExpireSource:
    """Expire all snapshots of the trades table but the newest ones."""

    keep: int


@dataclass(frozen=True)
class Advance:
    """Move the clock of the schedule."""

    now: datetime


@dataclass(frozen=True)
class Scheduled:
    """Run of the schedule that was due at the time of the clock."""

    timeframe: str
    crash: Crash | None = None


@dataclass(frozen=True)
class Build:
    """Run of exactly its own range."""

    timeframe: str
    start: datetime
    end: datetime
    by: Start = "cleared"
    prune: bool = False
    crash: Crash | None = None


@dataclass(frozen=True)
class Reprocess:
    """Rebuild of a day in several timeframes."""

    day: date
    timeframes: tuple[str, ...]
    prune: bool = False
    crash: Crash | None = None


@dataclass(frozen=True)
class Maintain:
    """Step of the maintenance of a candle table."""

    timeframe: str
    step: Literal["delete", "compact", "expire"]


@dataclass(frozen=True)
class Rollback:
    """Roll a candle table back by a number of published snapshots."""

    timeframe: str
    snapshots: int


@dataclass(frozen=True)
class Change:
    """Change of the columns of a candle table."""

    timeframe: str
    kind: Literal["widen", "extend"]


@dataclass(frozen=True)
class Record:
    """Recording of the ledger of a timeframe, or of the coverage."""

    timeframe: str = ""


Step = (
    Deliver
    | Delete
    | Rewrite
    | CompactSource
    | DropHours
    | ExpireSource
    | Advance
    | Scheduled
    | Build
    | Reprocess
    | Maintain
    | Rollback
    | Change
    | Record
)


@dataclass(frozen=True)
class History:
    """A history: the settings of its site, the time at which it begins, and its steps."""

    seed: str
    begin: datetime
    environment: Mapping[str, str]
    # Rows of a row group of the trades table.
    row_group: int
    # Whether the tables are treated as large ones: split hours, partial overwrites, merged manifests.
    is_large: bool
    steps: tuple[Step, ...]

    @property
    def exchanges(self) -> int:
        """Return the number of exchanges, each of which is a history of its own."""
        return len({row.trade.exchange for step in self.deliveries for row in step.rows} - {None})

    @property
    def deliveries(self) -> list[Deliver]:
        return [step for step in self.steps if isinstance(step, Deliver)]

    @property
    def rows(self) -> int:
        return sum(len(step.rows) for step in self.deliveries)

    def with_rows(self, keep: Callable[[Row], bool]) -> History:
        """Return the history without the rows that a function rejects."""
        steps = []
        for step in self.steps:
            if isinstance(step, Deliver):
                step = replace(step, rows=tuple(row for row in step.rows if keep(row)))
                if not step.rows:
                    continue
            steps.append(step)
        return replace(self, steps=tuple(steps))

    def to_text(self) -> str:
        """Return the steps, one a line, with the values of their first rows."""
        shape = f"row groups of {self.row_group}{', large' if self.is_large else ''}"
        lines = [f"begin {self.begin:%F %T}, {dict(self.environment)}, {shape}"]
        for number, step in enumerate(self.steps):
            lines.append(f"{number:3} {describe(step)}")
            if isinstance(step, Deliver):
                lines += [f"      {_row_text(row)}" for row in step.rows[:MAX_SHOWN]]
                if len(step.rows) > MAX_SHOWN:
                    lines.append(f"      and {len(step.rows) - MAX_SHOWN:,} more rows")
        return "\n".join(lines)


def describe(step: Step) -> str:
    """Return the name of a step and its values, without those of rows."""
    values = {each.name: getattr(step, each.name) for each in fields(step)}
    if isinstance(step, Deliver):
        values["rows"] = len(step.rows)
    if isinstance(step, Delete):
        values["numbers"] = list(step.numbers) if len(step.numbers) < 10 else len(step.numbers)
    shown = ", ".join(f"{name}={_text(value)}" for name, value in values.items() if value not in (None, False))
    return f"{type(step).__name__}({shown})"


def _text(value: Any) -> str:
    return f"{value:%FT%T}" if isinstance(value, datetime) else str(value)


def _row_text(row: Row) -> str:
    trade = row.trade
    return (
        f"{row.number}: {trade.exchange} {trade.symbol} {trade.timestamp} of {trade.exchange_date} "
        f"{trade.exchange_hour} h, id {trade.trade_id!r} message {trade.message_id!r} price {trade.price} "
        f"quantity {trade.quantity} sequence {trade.source_sequence} platform {trade.platform_sequence} "
        f"side {trade.side} arrival {row.arrival}"
    )
