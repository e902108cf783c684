"""Comparison of the source sequences of a series across hours: which numbers are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ohlcv.model.coverage_records import EXPECTED_AFTER_TRADE
from ohlcv.model.intervals import HOUR

# Hours further apart are not compared.
MAX_DISTANCE = EXPECTED_AFTER_TRADE // HOUR
# More numbers than any exchange has trades: they are not consecutive numbers of trades. Sums of hours stay 64-bit.
MAX_MISSING = 10**15
RESTART = "source sequences restart"
FAR_APART = "source sequences are too far apart"
FIRST = "no earlier source sequences within 7 days"
LAST = "no later source sequences within 7 days"
NOT_COUNTED = "hours in which the missing numbers may be are not counted yet"

# Whether hours from a first to a last one, both inclusive, contain one that is not counted.
ContainsUncounted = Callable[[int, int], bool]


@dataclass(frozen=True, slots=True)
class Numbers:
    """The source sequences of a series in an hour: the lowest, the highest, and how many different ones."""

    hour: int
    lowest: int
    highest: int
    count: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the numbers of an hour and its neighbours tell."""

    # Numbers that are missing in the hour and between it and the hour before. None: not known.
    missing: int | None
    # None: not known.
    has_gap: bool | None
    detail: str


COMPLETE = Judgement(0, False, "")


@dataclass
class _Group:
    """Consecutive hours whose ranges of numbers overlap, because trades arrive out of order around a boundary."""

    rows: list[Numbers]
    # Why it is not compared with the group before. Empty: it is.
    reason: str
    lowest: int = field(init=False)
    highest: int = field(init=False)
    count: int = field(init=False)

    def __post_init__(self) -> None:
        self.lowest, self.highest, self.count = self.rows[0].lowest, self.rows[0].highest, self.rows[0].count

    def add(self, row: Numbers) -> None:
        self.rows.append(row)
        self.lowest, self.highest = min(self.lowest, row.lowest), max(self.highest, row.highest)
        self.count += row.count

    @property
    def inside(self) -> int:
        """Return how many numbers are missing within the group. Negative if a number is in two hours."""
        return self.highest - self.lowest + 1 - self.count


def judge_numbers(rows: Sequence[Numbers], contains_uncounted: ContainsUncounted) -> dict[int, Judgement]:
    """Return what is known of each hour. The rows are in the order of their hours."""
    if not rows:
        return {}
    groups = list(_groups(rows))
    judged: dict[int, Judgement] = {}
    boundaries = [_boundary(*pair, contains_uncounted) for pair in zip([None, *groups], groups, strict=False)]
    for group, before, following in zip(groups, boundaries, [*boundaries[1:], FIRST], strict=True):
        # The later hour may be too far away.
        after = LAST if following == FIRST else following
        judged.update(_judge(group, before, after, contains_uncounted))
    return judged


def _groups(rows: Sequence[Numbers]) -> Iterator[_Group]:
    group: _Group | None = None
    previous: Numbers | None = None
    # Highest number of the hours before the previous one, since the numbers restarted.
    earlier: int | None = None
    for row in rows:
        if group is None or previous is None:
            group = _Group([row], FIRST)
        elif row.hour - previous.hour > MAX_DISTANCE:
            yield group
            group, earlier = _Group([row], FIRST), None
        elif row.lowest - previous.highest > MAX_MISSING:
            yield group
            group, earlier = _Group([row], FAR_APART), None
        elif row.highest < previous.lowest or (earlier is not None and row.lowest <= earlier):
            # Trades are out of order by less than an hour, so only neighbours may overlap.
            yield group
            group, earlier = _Group([row], RESTART), None
        else:
            earlier = previous.highest if earlier is None else max(earlier, previous.highest)
            if row.lowest <= previous.highest:
                group.add(row)
            else:
                yield group
                group = _Group([row], "")
        previous = row
    if group is not None:
        yield group


def _boundary(before: _Group | None, after: _Group, contains_uncounted: ContainsUncounted) -> int | str:
    """Return how many numbers are missing between two groups, or why it is not known."""
    if before is None or after.reason:
        return after.reason
    if before.inside < 0 or after.inside < 0:
        return RESTART
    if max(before.inside, after.inside) > MAX_MISSING:
        return FAR_APART
    missing = after.lowest - before.highest - 1
    if missing and contains_uncounted(before.rows[-1].hour, after.rows[0].hour):
        return NOT_COUNTED
    return missing


def _judge(
    group: _Group, before: int | str, after: int | str, contains_uncounted: ContainsUncounted
) -> Iterator[tuple[int, Judgement]]:
    inside: int | str = group.inside
    if inside == before == after == 0:
        yield from ((row.hour, COMPLETE) for row in group.rows)
        return
    if group.inside < 0 or group.inside > MAX_MISSING or RESTART in (before, after):
        unknown = Judgement(None, None, FAR_APART if group.inside > MAX_MISSING else RESTART)
        yield from ((row.hour, unknown) for row in group.rows)
        return
    if inside and contains_uncounted(group.rows[0].hour, group.rows[-1].hour):
        inside = NOT_COUNTED
    places = ((inside, _place(group)), (before, "before the hour"), (after, "after the hour"))
    found = [f"{count:,} {place}" for count, place in places if isinstance(count, int) and count]
    reasons = [reason for reason, _ in places if isinstance(reason, str)]
    missing = sum(count for count in (inside, before) if isinstance(count, int))
    for row in group.rows:
        if found:
            # In the first hour of the group, so that each missing number is counted once.
            counted = missing if row is group.rows[0] else 0
            yield row.hour, Judgement(counted, True, f"numbers missing: {', '.join(found)}")
        else:
            yield row.hour, Judgement(None, None, "; ".join(reasons))


def _place(group: _Group) -> str:
    size = len(group.rows)
    return "in the hour" if size == 1 else f"in {size} hours whose numbers overlap"
