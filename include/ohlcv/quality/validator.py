"""Validation of stored candles by rules, by recomputation from the trades, and against the finer timeframe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime

from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.audit_state import read_decisions
from ohlcv.iceberg.damage import report_damage
from ohlcv.iceberg.snapshot_summary import built_ranges, newest_commit, read_checkpoint, run_commit
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model import summary_keys
from ohlcv.model.intervals import (
    MICROSECOND,
    Range,
    ceil_time,
    day_range,
    floor_time,
    iso,
    merge_ranges,
    to_microseconds,
)
from ohlcv.model.source_checkpoint import SourceCheckpoint
from ohlcv.model.source_hours import hours_overlapping
from ohlcv.model.timeframes import DAY, Timeframe
from ohlcv.quality.audit import held_key
from ohlcv.quality.measures import stores_measures
from ohlcv.quality.recomputation import validate_against_trades
from ohlcv.quality.report import Finding, ValidationResult, findings_from_text
from ohlcv.quality.rule_database import find_violations, load_candles, load_stored, rule_database
from ohlcv.quality.rules import RULES, rules_of
from ohlcv.readers.freshness import measure_freshness
from ohlcv.readers.latest import built_until
from ohlcv.readers.scans import StoredCandles, time_condition
from ohlcv.readers.trades import TradesTable, load_trades, table_with_snapshot

_FRESHNESS_RULE = "candles_are_fresh"


def validate(settings: Settings, timeframe: Timeframe, time_range: Range, run_id: str = "") -> ValidationResult:
    """Validate the candles of a range; with `run_id`, also those of the pending hours that the run rebuilt."""
    catalog = open_catalog(settings)
    candles = load_table(catalog, settings.candles_contract(timeframe))
    trades = load_trades(catalog, settings.trades_contract)
    commit = run_commit(candles, run_id, time_range) if run_id else {}
    ranges = merge_ranges([time_range, *built_ranges(commit, timeframe)])
    memory = settings.tuning[timeframe.name].audit_memory
    checkpoint = read_checkpoint(candles)
    # Withheld candles are found only by a recomputation.
    if summary_keys.AUDIT in commit and commit.get(summary_keys.CANDLES_WITHHELD) == "0":
        result = _validate_candles(timeframe, ranges, candles, commit)
    else:
        result = _validate_ranges(timeframe, ranges, trades, candles, commit, memory)
    result = replace(result, held=len(checkpoint.held))
    if not run_id:
        result = _downgrade_pending(result, timeframe, checkpoint)
        result = _drop_expired(result, timeframe, candles, datetime.now(UTC).date())
    finer = next_finer(settings.timeframes.values(), timeframe)
    if finer is not None:
        finer_candles = load_table(catalog, settings.candles_contract(finer))
        findings = _finer_mismatches(timeframe, finer, ranges, trades, candles, finer_candles, memory)
        result = replace(result, findings=[*result.findings, *findings])
    return result


def validate_days(
    settings: Settings, timeframe: Timeframe, time_range: Range, show: Callable[[str], None] = lambda _: None
) -> Iterator[ValidationResult]:
    """Validate a range day by day, so that memory holds one day of trades at a time. Days without data are skipped."""
    days = _days_with_data(settings, timeframe, time_range)
    for number, day in enumerate(days, start=1):
        show(f"{day.start.date()}, day {number:,} of {len(days):,}")
        yield validate(settings, timeframe, day)


def _days_with_data(settings: Settings, timeframe: Timeframe, time_range: Range) -> list[Range]:
    """Return the parts of a range, each in one day, that have candles or trades; or only the last day."""
    catalog = open_catalog(settings)
    candles = load_table(catalog, settings.candles_contract(timeframe))
    trades = load_trades(catalog, settings.trades_contract)
    last = time_range.end - MICROSECOND
    days: set[date] = set()
    for each in filter(None, (timeframe, next_finer(settings.timeframes.values(), timeframe))):
        stored = StoredCandles(load_table(catalog, settings.candles_contract(each)))
        for partition in stored.partitions(time_condition(time_range.start, time_range.end)):
            first, end = each.partition_start(partition), each.partition_start(partition + 1)
            days.update(first + number * DAY for number in range((end - first).days))
    for source, snapshot in _trades_snapshots(trades, candles, {})[0]:
        days |= source.days_with_files(time_range, snapshot)
    spans = [
        Range(max(day_range(day).start, time_range.start), min(day_range(day).end, time_range.end))
        for day in sorted(days)
        if time_range.start.date() <= day <= last.date()
    ]
    return spans or [Range(max(floor_time(last, DAY), time_range.start), time_range.end)]


def validate_freshness(settings: Settings, timeframe: Timeframe, now: datetime) -> list[Finding]:
    """Return a warning where candles are older than their schedule allows although there are later trades."""
    state = measure_freshness(settings, timeframe, now)
    with rule_database() as connection:
        for name, time in (("due", state.due), ("newest", state.newest), ("traded", state.traded)):
            connection.execute(f"SET VARIABLE {name} = ?", [None if time is None else to_microseconds(time)])
        return list(find_violations(connection, RULES[_FRESHNESS_RULE]))


def built_range(settings: Settings, timeframe: Timeframe, requested: Range) -> Range | None:
    """Return the part of a range that has been built, or None. Later windows are not missing but not due yet."""
    until = built_until(load_table(open_catalog(settings), settings.candles_contract(timeframe)), timeframe)
    start = floor_time(requested.start, timeframe.length)
    if until is None or start >= min(until, requested.end):
        return None
    # Not min() of both: rounding up the end of year 9999 would overflow.
    return Range(start, until if requested.end >= until else ceil_time(requested.end, timeframe.length))


def _validate_ranges(
    timeframe: Timeframe, ranges: list[Range], trades: TradesTable, candles: Table, commit: dict[str, str], memory: str
) -> ValidationResult:
    """Validate against the trades snapshot that the candles were built from, so that later trades are no errors.

    Usually that is the snapshot of the run's own commit. A run that changed nothing has no commit, so there can be
    several. A candle that is correct by one of them is correct.
    """
    sources, notes = _trades_snapshots(trades, candles, commit)
    result: ValidationResult | None = None
    for source, snapshot in sources:
        found = validate_against_trades(timeframe, ranges, source, candles, snapshot, memory)
        if result is not None:
            wrong = {finding.window for finding in found.failures if _by_trades(finding)}
            remaining = [each for each in result.findings if not _by_trades(each) or each.window in wrong]
            found = replace(result, findings=remaining)
        result = found
        if not any(map(_by_trades, result.findings)):
            break
    assert result is not None
    return _downgrade_known(replace(result, notes=notes, commit=commit), timeframe, candles)


def _validate_candles(
    timeframe: Timeframe, ranges: list[Range], candles: Table, commit: dict[str, str]
) -> ValidationResult:
    """Run the rules that need no trades, and add the warnings of the audit about the trades."""
    with rule_database() as connection:
        load_stored(connection, timeframe, candles, ranges)
        rules = rules_of("candles", measures=stores_measures(candles))
        findings = [finding for rule in rules for finding in find_violations(connection, rule)]
        ((count,),) = connection.execute("SELECT count(*) FROM stored").fetchall()
    findings += findings_from_text(commit.get(summary_keys.AUDIT_WARNINGS, "[]"))
    trades = int(commit.get(summary_keys.TRADES_READ, 0))
    notes = ["recomputed from the trades before publication"]
    result = ValidationResult(timeframe.name, ranges, count, trades, findings, notes, commit)
    return _downgrade_known(result, timeframe, candles)


def _by_trades(finding: Finding) -> bool:
    return RULES[finding.rule].basis == "trades"


def _finer_mismatches(
    timeframe: Timeframe,
    finer: Timeframe,
    ranges: list[Range],
    trades: TradesTable,
    candles: Table,
    finer_candles: Table,
    memory: str,
) -> list[Finding]:
    """Compare the candles with those of the next finer timeframe where both were built from the same trades."""
    pending = read_checkpoint(finer_candles).pending_hours
    until = built_until(finer_candles, finer)
    if until is None:
        return []
    with rule_database() as connection:
        load_stored(connection, timeframe, candles, ranges)
        load_candles(connection, "finer", finer_candles, ranges)
        connection.execute("SET VARIABLE finer_name = ?", [finer.name])
        measures = stores_measures(candles) and stores_measures(finer_candles)
        rules = rules_of("finer timeframe", measures=measures)
        found = [finding for rule in rules for finding in find_violations(connection, rule)]
    windows = {finding.window_start: _window(timeframe, finding) for finding in found}
    # Windows that the finer timeframe has not built yet, or has pending, cannot match.
    comparable = {
        start: window
        for start, window in windows.items()
        if window.end <= until and not hours_overlapping([window]) & pending
    }
    if not comparable:
        return []
    # Late trades reach one timeframe before the other. If both candles are correct for the trades they were built
    # from, they will match after the next run. Candles that are missing in the finer table are reported by the
    # validation of that table. Failures of held series are warnings here, so that they exempt their windows.
    compared = merge_ranges(comparable.values())
    wrong = _validate_ranges(timeframe, compared, trades, candles, {}, memory).failures
    finer_failures = _validate_ranges(finer, compared, trades, finer_candles, {}, memory).failures
    wrong += [finding for finding in finer_failures if not RULES[finding.rule].reports_missing]
    keys = {(each.symbol, each.exchange, iso(_window_start(timeframe, each.window_start))) for each in wrong}
    return [finding for finding in found if finding.window_start in comparable and finding.window in keys]


def _window(timeframe: Timeframe, finding: Finding) -> Range:
    start = _window_start(timeframe, finding.window_start)
    return Range(start, start + timeframe.length)


def _window_start(timeframe: Timeframe, time: str) -> datetime:
    return floor_time(datetime.fromisoformat(time), timeframe.length)


def next_finer(enabled: Iterable[Timeframe], timeframe: Timeframe) -> Timeframe | None:
    """Return the longest enabled timeframe whose windows divide those of a longer one, None if there is none."""
    dividing = [each for each in enabled if each.length < timeframe.length and not timeframe.length % each.length]
    return max(dividing, key=lambda each: each.length, default=None)


def _downgrade_pending(
    result: ValidationResult, timeframe: Timeframe, checkpoint: SourceCheckpoint
) -> ValidationResult:
    """Downgrade findings in pending hours to warnings: the next runs rebuild these hours."""
    findings = [
        replace(finding, severity="WARN")
        if _by_trades(finding) and hours_overlapping([_window(timeframe, finding)]) & checkpoint.pending_hours
        else finding
        for finding in result.findings
    ]
    return replace(result, findings=findings)


def _downgrade_known(result: ValidationResult, timeframe: Timeframe, candles: Table) -> ValidationResult:
    """Downgrade findings of held series, whose stored candles are known to be old, and waived ones to warnings."""
    held = {each.key for each in read_checkpoint(candles).held}
    waivers = {digest: waiver for waiver in read_decisions(candles).waivers for digest in waiver.findings}
    waived = {finding: waivers[finding.digest] for finding in result.failures if finding.digest in waivers}
    findings = [
        replace(finding, severity="WARN")
        if finding in waived or (_by_trades(finding) and held_key(timeframe, finding) in held)
        else finding
        for finding in result.findings
    ]
    notes = [
        f"waived: {each.name(timeframe)} by {each.author} at {each.at}: {each.reason}"
        for each in dict.fromkeys(waived.values())
    ]
    return replace(result, findings=findings, notes=[*result.notes, *notes])


def _drop_expired(result: ValidationResult, timeframe: Timeframe, candles: Table, today: date) -> ValidationResult:
    """Drop findings of missing candles in partitions that retention has deleted."""
    cutoff = timeframe.cutoff(today)
    days = {
        each: _window_start(timeframe, each.window_start).date()
        for each in result.findings
        if RULES[each.rule].reports_missing
    }
    old = {timeframe.partition_of(day) for day in days.values() if day < cutoff}
    deleted = {day for day in old if not _has_candles(candles, day, timeframe.next_partition(day))}
    if not deleted:
        return result
    findings = [
        each for each in result.findings if each not in days or timeframe.partition_of(days[each]) not in deleted
    ]
    note = f"deleted by retention: {', '.join(map(str, sorted(deleted)))}"
    return replace(result, findings=findings, notes=[*result.notes, note])


def _has_candles(candles: Table, first: date, end: date) -> bool:
    scan = candles.scan(f"window_date >= '{first}' AND window_date < '{end}'")
    with report_damage(candles, scan):
        return any(scan.plan_files())


def _trades_snapshots(
    trades: TradesTable, candles: Table, commit: dict[str, str]
) -> tuple[list[tuple[TradesTable, int | None]], list[str]]:
    """Return the trades tables and snapshots that the candles may have been built from, the most likely first."""
    recorded: dict[int, str] = {}
    for summary in (commit, newest_commit(candles)):
        if snapshot := summary.get(summary_keys.TRADES_SNAPSHOT):
            recorded.setdefault(int(snapshot), summary.get(summary_keys.TRADES_METADATA, ""))
    if examined := read_checkpoint(candles).trades_snapshot:
        recorded.setdefault(examined, "")
    found = [
        (table_with_snapshot(trades.table, snapshot, metadata), snapshot) for snapshot, metadata in recorded.items()
    ]
    available: list[tuple[TradesTable, int | None]] = [
        (replace(trades, table=table), snapshot) for table, snapshot in found if table is not None
    ]
    if available:
        return available, []
    notes = [f"the trades snapshot {found[0][1]} has expired: validated against the current trades"] if found else []
    return [(trades, None)], notes
