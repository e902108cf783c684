"""Comparison of stored candles with published ones, window by window, in exact decimals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ohlcv.model.tolerances import FIELDS, Tolerances
from ohlcv.reconciliation.conventions import Candles, Convention
from ohlcv.reconciliation.published import AMOUNT, COUNT, START

Outcome = Literal["equal", "different", "explained", "only ours", "only theirs"]
# Outcomes that are differences beyond the tolerances.
DIFFERENCES = ("different", "only ours", "only theirs")
# Digits of products of two amounts.
_PRECISION = 100
PREVIOUS_CLOSE = "previous_close"
# Rows that are Python objects at the same time.
_BATCH = 50_000


@dataclass(frozen=True, slots=True)
class Difference:
    """A field with two values. None: there is no such candle or value."""

    field: str
    ours: Decimal | int | None
    theirs: Decimal | int | None
    tolerance: str = "0"
    within: bool = False
    convention: str | None = None

    @property
    def difference(self) -> Decimal | None:
        """Return their value minus ours."""
        if self.ours is None or self.theirs is None:
            return None
        with localcontext(prec=_PRECISION):
            return Decimal(self.theirs) - Decimal(self.ours)

    def to_json(self) -> dict[str, str | None]:
        """Return the difference with exact numbers as texts."""
        values = {"ours": self.ours, "theirs": self.theirs, "difference": self.difference}
        texts = {name: None if value is None else amount_text(value) for name, value in values.items()}
        return {"field": self.field, **texts, "tolerance": self.tolerance, "convention": self.convention}


@dataclass(slots=True)
class ComparedWindow:
    """A window whose candles differ, if only within the tolerances."""

    # Microseconds.
    start: int
    outcome: Outcome
    differences: tuple[Difference, ...]
    evidence: tuple[str, ...] = field(default=())

    @property
    def fields(self) -> list[str]:
        """Return the names of the fields that differ beyond the tolerances."""
        return [each.field for each in self.differences if not each.within]


@dataclass(frozen=True)
class Comparison:
    """All windows of which one side has a candle: those with equal values by their starts, the others in detail."""

    equal: np.ndarray
    windows: list[ComparedWindow]


def amount_text(value: Decimal | int) -> str:
    """Return a number as text without superfluous zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def compare_candles(
    ours: pa.Table,
    theirs: pa.Table,
    places: Mapping[str, int],
    tolerances: Tolerances,
    conventions: Sequence[Convention],
) -> Comparison:
    """Compare candles sorted by their windows. Those of ours have the names of published ones."""
    theirs = _with_previous_close(theirs)
    is_empty = _without_trades(theirs)
    empty_starts = theirs.filter(is_empty)[START].to_numpy()
    theirs = theirs.filter(pc.invert(is_empty))
    our_starts, their_starts = ours[START].to_numpy(), theirs[START].to_numpy()
    _, our_rows, their_rows = np.intersect1d(our_starts, their_starts, assume_unique=True, return_indices=True)
    common_ours, common_theirs = ours.take(pa.array(our_rows)), theirs.take(pa.array(their_rows))
    names = [name for name in FIELDS if name in theirs.column_names]
    is_equal = _equal_rows(common_ours, common_theirs, names)
    differing = pc.invert(is_equal)
    comparer = _Comparer(names, places, tolerances, conventions)
    windows = [
        *comparer.compare(common_ours.filter(differing), common_theirs.filter(differing)),
        *_single(ours, np.setdiff1d(our_starts, their_starts), "only ours"),
        *_single(theirs, np.setdiff1d(their_starts, our_starts), "only theirs"),
    ]
    equal = [common_ours.filter(is_equal)[START].to_numpy(), np.setdiff1d(empty_starts, our_starts)]
    return Comparison(np.sort(np.concatenate(equal)), sorted(windows, key=lambda each: each.start))


def _with_previous_close(theirs: pa.Table) -> pa.Table:
    closes = theirs["close"].combine_chunks()
    previous = pa.concat_arrays([pa.nulls(1, closes.type), closes])[: len(closes)]
    return theirs.append_column(PREVIOUS_CLOSE, previous)


def _without_trades(theirs: pa.Table) -> pa.Array:
    """Return which published candles have no trades. Tiny volumes may be published as zero."""
    has_no_volume = pc.equal(theirs["volume"], pa.scalar(0, AMOUNT))
    if COUNT not in theirs.column_names:
        return has_no_volume
    # Null: this file has no such column, another one has it.
    return pc.coalesce(pc.equal(theirs[COUNT], 0), has_no_volume)


def _equal_rows(ours: pa.Table, theirs: pa.Table, names: Sequence[str]) -> pa.Array:
    equal = pa.array(np.ones(len(ours), bool))
    for name in names:
        # This file has no such value.
        is_absent = pc.is_null(theirs[name])
        equal = pc.and_(equal, pc.or_(is_absent, pc.fill_null(pc.equal(ours[name], theirs[name]), False)))
    return equal


def _single(
    candles: pa.Table, starts: np.ndarray, outcome: Literal["only ours", "only theirs"]
) -> Iterator[ComparedWindow]:
    rows = candles.filter(pc.is_in(candles[START], pa.array(starts, pa.int64())))
    is_ours = outcome == "only ours"
    for row in rows.to_pylist():
        values = [(name, row[name]) for name in FIELDS if row.get(name) is not None]
        found = (Difference(name, value if is_ours else None, None if is_ours else value) for name, value in values)
        yield ComparedWindow(row[START], outcome, tuple(found))


@dataclass(frozen=True)
class _Comparer:
    names: Sequence[str]
    places: Mapping[str, int]
    tolerances: Tolerances
    conventions: Sequence[Convention]

    def compare(self, ours: pa.Table, theirs: pa.Table) -> Iterator[ComparedWindow]:
        with localcontext(prec=_PRECISION):
            for offset in range(0, len(ours), _BATCH):
                our_rows = ours.slice(offset, _BATCH).to_pylist()
                their_rows = theirs.slice(offset, _BATCH).to_pylist()
                for our_row, their_row in zip(our_rows, their_rows, strict=True):
                    yield self._window(our_row, their_row)

    def _window(self, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> ComparedWindow:
        candles = Candles(ours, theirs, theirs[PREVIOUS_CLOSE], self.places)
        names = [name for name in self.names if theirs[name] is not None and ours[name] != theirs[name]]
        found = tuple(self._difference(candles, name) for name in names)
        beyond = [each for each in found if not each.within]
        outcome: Outcome = "different"
        if not beyond:
            outcome = "equal"
        elif all(each.convention for each in beyond):
            outcome = "explained"
        return ComparedWindow(ours[START], outcome, found)

    def _difference(self, candles: Candles, name: str) -> Difference:
        ours, theirs = candles.ours[name], candles.theirs[name]
        if ours is None:
            return Difference(name, None, theirs, self.tolerances.text(name))
        is_within = abs(theirs - ours) <= self.tolerances.limit(name, Decimal(theirs))
        explaining = None if is_within else self._convention(candles, name)
        return Difference(name, ours, theirs, self.tolerances.text(name), is_within, explaining)

    def _convention(self, candles: Candles, name: str) -> str | None:
        # A convention computes with several values of ours.
        if None in candles.ours.values():
            return None
        return next(
            (each.name for each in self.conventions if name in each.fields and each.explains(candles, name)), None
        )
