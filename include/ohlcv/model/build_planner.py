"""Build planning for one run: its own range and older hours whose trades changed since the last run.

The plan depends only on metadata of the trades table and on the checkpoint of the candle table, so a repeated run
builds the same windows. `TradesHistory` is the interface to the metadata; the Spark jobs implement it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from ohlcv.model.audit_records import NO_DECISIONS, Decisions, HeldSeries
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import HOUR, MICROSECOND, Range, day_range, merge_ranges, parse_time
from ohlcv.model.source_checkpoint import SourceCheckpoint, SourceIdentity
from ohlcv.model.source_hours import hour_number, hours_overlapping, windows_of_hour
from ohlcv.model.timeframes import Timeframe

# Fixed cost of rebuilding one more old hour (open its files, carry its candles over), expressed in trades read.
HOUR_COST = 5_000
# A trade is ingested before its commit. A search by ingestion time starts this much before the commit time.
INGESTION_SLACK = HOUR
# A scheduled run tries a held series again this long after the last try.
RETRY_INTERVAL = HOUR


class TradesHistory(Protocol):
    """Metadata of the trades table. Trades are read only where it does not separate the hours."""

    @property
    def source(self) -> SourceIdentity:
        """The identity of the table and of its mapping."""

    @property
    def snapshot(self) -> int | None:
        """The current snapshot, which the whole run reads. None while the table has none."""

    @property
    def committed_at(self) -> int | None:
        """Commit time of the current snapshot in milliseconds."""

    def changed_hours(self, since: int) -> set[int] | None:
        """Return the hours whose files differ between a snapshot and the current one. None if it has expired."""

    def ingested_hours(self, since_microseconds: int) -> set[int] | None:
        """Return the hours of trades ingested at or after a time. None if the trades have no ingestion time."""

    def trades_in(self, hours: Iterable[int]) -> Mapping[int, int]:
        """Return the number of trades for each of those hours that has any. It may be an estimate."""

    def hours_from(self, hour: int) -> set[int]:
        """Return the hours at or after this one that contain trades."""


@dataclass(frozen=True)
class BuildPlan:
    """The windows that a run builds, and the checkpoint it records afterwards."""

    timeframe: Timeframe
    own_range: Range
    ranges: list[Range]
    hours: set[int]
    rebuilt_hours: set[int] = field(default_factory=set)
    # Hours of the own range whose trades have not changed since their windows were built. They are not read again.
    unchanged_hours: set[int] = field(default_factory=set)
    # Held series that the run builds are not in the checkpoint: they are released unless the audit fails again.
    checkpoint: SourceCheckpoint = field(default_factory=SourceCheckpoint)
    notes: list[str] = field(default_factory=list)


def plan_build(
    timeframe: Timeframe,
    own_range: Range,
    history: TradesHistory,
    checkpoint: SourceCheckpoint,
    *,
    rebuild_pending: bool,
    trade_budget: int,
    prune: bool = False,
    new_source: bool = False,
    decisions: Decisions = NO_DECISIONS,
) -> BuildPlan:
    """Return what a run builds.

    Only a run with `rebuild_pending` (a scheduled run) examines all changed hours, so only it advances the checkpoint.
    A run with `new_source` accepts that the trades table or its mapping changed. Raise OhlcvError in all others.
    """
    checkpoint = _with_source(timeframe, own_range, history, checkpoint, new_source=new_source)
    checkpoint = _without_expired(timeframe, own_range, checkpoint)
    plan = BuildPlan(timeframe, own_range, [own_range], hours_overlapping([own_range]), checkpoint=checkpoint)
    if not rebuild_pending or history.snapshot is None:
        return _with_hours_ahead(_with_held_series(plan), history)

    changed, is_complete, notes = _find_changed_hours(timeframe, own_range, history, checkpoint)
    changed = changed | checkpoint.hours_ahead
    # Pruning removes candles of hours without trades. Such an hour need not have changed since the checkpoint.
    build_whole_range = prune or not is_complete
    own_ranges = [own_range] if build_whole_range else _changed_windows(timeframe, own_range, changed, checkpoint)
    pending, expired = _split_by_retention(timeframe, own_range, changed | checkpoint.pending_hours)
    if expired:
        notes.append(f"{len(expired)} changed hours are older than the retention and are not built")
    rebuilt, deferred = _choose_within_budget(timeframe, own_range, history, pending, trade_budget)
    if deferred:
        notes.append(f"{len(deferred)} changed hours are left to the next runs")
    rebuilt_windows = [span for hour in rebuilt if (span := _complete_windows(timeframe, hour, own_range))]
    retried: list[Range] = []
    # Held series wait until no other hour does.
    if not deferred and (due := _due_retries(timeframe, own_range, checkpoint, decisions)):
        retried = _retries_within_budget(due, own_range, rebuilt_windows, history, trade_budget)
    ranges = merge_ranges([*own_ranges, *rebuilt_windows, *retried])
    # Windows that end after the own range are not complete yet. After a pause the lookback of the next run may no
    # longer reach them, so their hours stay pending.
    unfinished = {
        hour
        for hour in history.hours_from(hour_number(own_range.end)) | pending
        if windows_of_hour(timeframe, hour).end > own_range.end
    }
    plan = replace(
        plan,
        ranges=ranges,
        hours=hours_overlapping(ranges),
        rebuilt_hours=rebuilt,
        checkpoint=SourceCheckpoint(
            trades_snapshot=history.snapshot,
            committed_at=history.committed_at,
            pending_hours=frozenset(deferred | unfinished),
            built_since=_built_since(own_range, checkpoint),
            source=checkpoint.source,
            held=checkpoint.held,
        ),
        notes=notes,
    )
    plan = _with_held_series(plan)
    return replace(plan, unchanged_hours=hours_overlapping([own_range]) - plan.hours)


def _without_expired(timeframe: Timeframe, own_range: Range, checkpoint: SourceCheckpoint) -> SourceCheckpoint:
    """Return the checkpoint without the held series whose candles have expired."""
    cutoff = timeframe.cutoff(own_range.end.date())
    held = frozenset(each for each in checkpoint.held if each.span(timeframe).start.date() >= cutoff)
    return replace(checkpoint, held=held)


def _due_retries(
    timeframe: Timeframe, own_range: Range, checkpoint: SourceCheckpoint, decisions: Decisions
) -> list[tuple[Range, bool]]:
    """Return the windows of held series to try again, and whether that was requested: these first, then the oldest."""
    due: dict[Range, tuple[bool, datetime]] = {}
    for held in checkpoint.held:
        requested = decisions.wants_retry(held)
        span = _complete_windows(timeframe, held.hour, own_range)
        if span and (requested or own_range.end - _tried(held) >= RETRY_INTERVAL):
            order = (not requested, _tried(held))
            due[span] = min(order, due.get(span, order))
    return [(span, not due[span][0]) for span in sorted(due, key=lambda span: (due[span], span))]


def _retries_within_budget(
    due: list[tuple[Range, bool]], own_range: Range, rebuilt: list[Range], history: TradesHistory, trade_budget: int
) -> list[Range]:
    """Return the windows of held series that the run builds within what the rebuilt windows leave of its budget."""
    chosen: list[Range] = []
    own_hours = hours_overlapping([own_range])
    read = hours_overlapping([own_range, *rebuilt])
    spent = _cost(history, read - own_hours)
    for span, is_requested in due:
        extra = hours_overlapping([span]) - read
        cost = _cost(history, extra)
        # The first windows are built whatever they cost, as the first pending hours are. The first requested ones, too.
        if spent and spent + cost > trade_budget and (chosen or not is_requested):
            break
        spent += cost
        read |= extra
        chosen.append(span)
    return chosen


def _with_held_series(plan: BuildPlan) -> BuildPlan:
    """Extend a plan so that it builds all windows of the held series that it builds in part, and release these."""
    timeframe, held = plan.timeframe, plan.checkpoint.held
    extended = {
        each: span
        for each in held
        if (span := _complete_windows(timeframe, each.hour, plan.own_range)) and hours_overlapping([span]) & plan.hours
    }
    ranges = merge_ranges([*plan.ranges, *extended.values()])
    # A run may end before the windows that an earlier run tried.
    released = {each for each, span in extended.items() if min(each.span(timeframe).end, _tried(each)) <= span.end}
    added = {each.hour for each, span in extended.items() if not _contains(plan.own_range, span)}
    return replace(
        plan,
        ranges=ranges,
        hours=hours_overlapping(ranges),
        rebuilt_hours=plan.rebuilt_hours | added,
        checkpoint=replace(plan.checkpoint, held=held - released),
    )


def _with_hours_ahead(plan: BuildPlan, history: TradesHistory) -> BuildPlan:
    """Return a plan whose checkpoint names the hours that it builds from newer trades than those of the checkpoint."""
    checkpoint = plan.checkpoint
    if checkpoint.trades_snapshot is None or checkpoint.trades_snapshot == history.snapshot:
        return plan
    # Of an expired snapshot the changes are not known. The next scheduled run finds them by ingestion time.
    changed = history.changed_hours(checkpoint.trades_snapshot) or set()
    hours_ahead = checkpoint.hours_ahead | (changed & plan.hours)
    return replace(plan, checkpoint=replace(checkpoint, hours_ahead=hours_ahead))


def _tried(held: HeldSeries) -> datetime:
    return parse_time(held.tried)[0]


def _with_source(
    timeframe: Timeframe, own_range: Range, history: TradesHistory, checkpoint: SourceCheckpoint, *, new_source: bool
) -> SourceCheckpoint:
    """Return the checkpoint for the trades that this run reads. After a change, all retained hours are pending."""
    old, new = checkpoint.source, history.source
    if old is None or old == new:
        return replace(checkpoint, source=new)
    if not new_source:
        raise OhlcvError(source_problem(timeframe, old, new))
    if checkpoint.trades_snapshot is None or history.snapshot is None:
        return SourceCheckpoint(source=new, held=checkpoint.held)
    # Those that this run builds are complete afterwards.
    built = {hour for hour in hours_overlapping([own_range]) if _contains(own_range, windows_of_hour(timeframe, hour))}
    return replace(
        checkpoint,
        trades_snapshot=history.snapshot,
        committed_at=history.committed_at,
        pending_hours=frozenset(_retained_hours(timeframe, own_range, history) - built),
        source=new,
    )


def source_problem(timeframe: Timeframe, old: SourceIdentity, new: SourceIdentity) -> str:
    """Return the error of candles that were built from another source."""
    change = (
        f"from another trades table (its UUID was {old.table}, now it is {new.table})"
        if old.table != new.table
        else "with another mapping of the trades table"
    )
    return (
        f"the {timeframe} candles were built {change}: restore it, or rebuild the candles by "
        f"'airflow dags trigger ohlcv_reprocess' with new_source or 'ohlcv build --new-source'"
    )


def _retained_hours(timeframe: Timeframe, own_range: Range, history: TradesHistory) -> set[int]:
    """Return the hours with trades whose candles have not expired."""
    return history.hours_from(hour_number(day_range(timeframe.cutoff(own_range.end.date())).start))


def _contains(span: Range, other: Range) -> bool:
    return span.start <= other.start and other.end <= span.end


def _find_changed_hours(
    timeframe: Timeframe, own_range: Range, history: TradesHistory, checkpoint: SourceCheckpoint
) -> tuple[set[int], bool, list[str]]:
    """Return the hours that changed since the checkpoint, whether the set is complete, and notes for the report."""
    if checkpoint.trades_snapshot is None:
        note = "no source checkpoint is recorded yet: only the run's own range is built, backfill older candles"
        return set(), False, [note]
    if checkpoint.trades_snapshot == history.snapshot:
        return set(), True, []
    changed = history.changed_hours(checkpoint.trades_snapshot)
    if changed is not None:
        return changed, True, []
    slack = max(timeframe.lookback, INGESTION_SLACK)
    since = (checkpoint.committed_at or 0) * 1000 - slack // MICROSECOND
    ingested = history.ingested_hours(since)
    if ingested is None:
        method = "all retained hours are built again, because the trades have no ingestion time"
        ingested = _retained_hours(timeframe, own_range, history)
    else:
        method = "changed hours are found by ingestion time"
    note = (
        f"the recorded trades snapshot {checkpoint.trades_snapshot} has expired: {method}, so trades deleted "
        "since then are not detected"
    )
    return ingested, False, [note]


def _changed_windows(
    timeframe: Timeframe, own_range: Range, changed: set[int], checkpoint: SourceCheckpoint
) -> list[Range]:
    """Return the windows of the own range whose trades changed since they were built, or that were never built."""
    found = []
    for hour in sorted(hours_overlapping([own_range])):
        span = windows_of_hour(timeframe, hour)
        hours = hours_overlapping([span])
        was_built = checkpoint.built_since is not None and min(hours) >= checkpoint.built_since
        if not was_built or hours & (changed | checkpoint.pending_hours):
            found.append(Range(max(span.start, own_range.start), min(span.end, own_range.end)))
    return merge_ranges(found)


def _built_since(own_range: Range, checkpoint: SourceCheckpoint) -> int:
    """Return the first whole hour from which every hour is built or pending after a run of that range."""
    first, end = hour_number(own_range.start + HOUR - MICROSECOND), hour_number(own_range.end)
    # A range that ends before the recorded hour leaves a gap of hours that were never built.
    if checkpoint.built_since is None or first <= checkpoint.built_since <= end:
        return first
    return checkpoint.built_since


def _split_by_retention(timeframe: Timeframe, own_range: Range, hours: set[int]) -> tuple[set[int], set[int]]:
    """Split hours into those within the retention of the candles and those that retention would delete again."""
    cutoff = timeframe.cutoff(own_range.end.date())
    expired = {hour for hour in hours if windows_of_hour(timeframe, hour).start.date() < cutoff}
    return hours - expired, expired


def _choose_within_budget(
    timeframe: Timeframe, own_range: Range, history: TradesHistory, pending: set[int], trade_budget: int
) -> tuple[set[int], set[int]]:
    """Split pending hours into those that this run rebuilds, newest first within its budget, and the deferred rest."""
    # Hours of one window (for a daily candle: all hours of the day) are rebuilt together.
    groups: dict[Range, set[int]] = {}
    for hour in pending:
        span = _complete_windows(timeframe, hour, own_range)
        if span is not None and not _contains(own_range, span):
            groups.setdefault(span, set()).add(hour)
    rebuilt: set[int] = set()
    deferred: set[int] = set()
    read = hours_overlapping([own_range])
    spent = 0
    for span in sorted(groups, reverse=True):
        extra = hours_overlapping([span]) - read
        cost = 0
        # Once one group is deferred, all older ones are deferred too. Otherwise small groups could overtake a large
        # one in every run.
        if not deferred:
            cost = _cost(history, extra)
        # The first group is rebuilt whatever it costs, so that every run reduces the pending hours.
        if deferred or (spent and spent + cost > trade_budget):
            deferred |= groups[span]
            continue
        spent += cost
        read |= extra
        rebuilt |= groups[span]
    return rebuilt, deferred


def _cost(history: TradesHistory, hours: set[int]) -> int:
    """Return what it costs to rebuild hours, in trades read."""
    return sum(history.trades_in(hours).values()) + HOUR_COST * len(hours) if hours else 0


def _complete_windows(timeframe: Timeframe, hour: int, own_range: Range) -> Range | None:
    """Return the windows that use trades of the hour and are complete at the end of the run's range."""
    span = windows_of_hour(timeframe, hour)
    end = min(span.end, own_range.end)
    return Range(span.start, end) if span.start < end else None
