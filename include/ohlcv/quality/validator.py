"""Check stored candles: by rules of their own, and against a recomputation from the trades by another engine.

DuckDB over pyiceberg, no JVM. Shares no code with the Spark job: only the contract's names. Memory and time grow with
the range, not with the table.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.table import StaticTable, Table
from pyiceberg.table.snapshots import Snapshot

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import hours_filter, load_table, open_catalog
from ohlcv.model.build_planner import Progress
from ohlcv.model.intervals import (
    HOUR,
    MICROSECOND,
    Range,
    ceil_time,
    floor_time,
    from_microseconds,
    hours_touched,
    iso,
    merge_ranges,
    parse_hours,
    to_microseconds,
    windows_of_hour,
)
from ohlcv.model.table_contracts import AMOUNT_LIMIT, TRADES, candles_contract
from ohlcv.model.timeframes import DAY, TIMEFRAMES, Timeframe
from ohlcv.quality.rules import RULES, VALUES, Rule, Severity
from ohlcv.readers.candles import newest_window
from ohlcv.readers.freshness import look

# How many findings are named; their number is always told.
NAMED = 20

_TRADE_COLUMNS = (
    "symbol",
    "exchange",
    "trade_id",
    "message_id",
    "timestamp",
    "price",
    "quantity",
    "source_sequence",
    "ingestion_timestamp",
    "platform_sequence",
    "exchange_date",
    "exchange_hour",
)

# As a reader sees them: whole numbers of 10^-8 as decimals, microseconds as ISO times.
_MACROS = """
CREATE MACRO amount(units) AS CASE WHEN units < 0 THEN '-' ELSE '' END
    || (abs(units) // 100000000) || '.' || lpad(CAST(abs(units) % 100000000 AS VARCHAR), 8, '0');
CREATE MACRO instant(us) AS coalesce(strftime(make_timestamp(us), '%Y-%m-%dT%H:%M:%SZ'), 'NULL');
"""

_TRADES = """
SELECT *, date_diff('day', DATE '1970-01-01', exchange_date) * 24 + exchange_hour AS hour_number,
    coalesce(symbol IS NOT NULL AND exchange IS NOT NULL AND coalesce(trade_id, message_id) IS NOT NULL
        AND price > 0 AND quantity > 0
        AND "timestamp" // 3600000000 = date_diff('day', DATE '1970-01-01', exchange_date) * 24 + exchange_hour, false
    ) AS good
FROM read_trades
"""

# Every amount as a whole number of 10^-8; sums as 128-bit integers. A version is the latest by the same total order
# as in the data contract; ids made of digits compare as numbers.
_EXPECTED = """
WITH latest AS (
    SELECT * FROM trades WHERE good
    QUALIFY row_number() OVER (
        PARTITION BY exchange, symbol, hour_number, trade_id, CASE WHEN trade_id IS NULL THEN message_id END
        ORDER BY ingestion_timestamp DESC NULLS LAST, platform_sequence DESC NULLS LAST, message_id DESC NULLS LAST,
            "timestamp" DESC, source_sequence DESC NULLS LAST, price DESC, quantity DESC
    ) = 1
),
keyed AS (
    SELECT symbol, exchange, "timestamp", source_sequence,
        "timestamp" // getvariable('length') * getvariable('length') AS window_start,
        CAST(CAST(price AS DECIMAL(28, 8)) * 100000000 AS BIGINT) AS price,
        CAST(CAST(quantity AS DECIMAL(28, 8)) * 100000000 AS BIGINT) AS quantity,
        coalesce(trade_id, message_id) AS id,
        CASE WHEN regexp_full_match(coalesce(trade_id, message_id), '[0-9]+')
            THEN ltrim(coalesce(trade_id, message_id), '0') END AS digits
    FROM latest
),
ordered AS (
    SELECT *, row_number() OVER (
        PARTITION BY symbol, exchange, window_start
        ORDER BY "timestamp", source_sequence NULLS FIRST, digits IS NULL, length(digits), digits, id, price
    ) AS position
    FROM keyed
),
candles AS (
    SELECT symbol, exchange, window_start, arg_min(price, position) AS open_price, max(price) AS high_price,
        min(price) AS low_price, arg_max(price, position) AS close_price,
        sum(CAST(quantity AS HUGEINT)) AS volume, count(*) AS trade_count,
        sum(CAST(price AS HUGEINT) * CAST(quantity AS HUGEINT)) AS notional
    FROM ordered
    WHERE {in_ranges}
    GROUP BY symbol, exchange, window_start
)
SELECT * EXCLUDE (notional), notional // volume + CAST(notional % volume * 2 >= volume AS INTEGER) AS vwap FROM candles
"""

_STORED = """
SELECT symbol, exchange, epoch_us(window_start) AS window_start, epoch_us(window_end) AS window_end, window_date,
    CAST(CAST(open_price AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS open_price,
    CAST(CAST(high_price AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS high_price,
    CAST(CAST(low_price AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS low_price,
    CAST(CAST(close_price AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS close_price,
    CAST(floor(volume) AS HUGEINT) * 100000000 + CAST(volume % 1 * 100000000 AS HUGEINT) AS volume, trade_count,
    CAST(CAST(vwap AS DECIMAL(28, 8)) * 100000000 AS HUGEINT) AS vwap
FROM {source} WHERE {in_ranges}
"""

# A candle stays as it was where the source has let go of the trades: one of its hours holds none at all, and a
# recomputation would take trades away from it.
_START = "epoch_us(window_start)"
_PAIRS = """
WITH once AS (SELECT DISTINCT ON (symbol, exchange, window_start) * FROM stored),
both_sides AS (
    SELECT coalesce(once.symbol, expected.symbol) AS symbol, coalesce(once.exchange, expected.exchange) AS exchange,
        coalesce(once.window_start, expected.window_start) AS window_start,
        once.window_start IS NOT NULL AS is_stored, expected.window_start IS NOT NULL AS is_expected, {fields}
    FROM once FULL JOIN expected USING (symbol, exchange, window_start)
)
SELECT * FROM both_sides
WHERE NOT (is_stored AND coalesce(expected_trade_count, 0) < stored_trade_count AND EXISTS (
    SELECT 1 FROM empty_hours
    WHERE hour * 3600000000 >= window_start // {group} * {group}
        AND hour * 3600000000 < window_start // {group} * {group} + {group}
))
"""

# Rules that hold the candles against the trades: what trades there were is a question of when.
_BY_TRADES = ("fields_equal_the_trades", "none_is_missing", "none_is_withheld", "none_is_extra")
_BY_SMALLER = "agrees_with_the_smaller"
# Not a matter of one table's range.
_APART = (_BY_SMALLER, "candles_are_fresh")
_LACKS = ("none_is_missing", "none_is_withheld")


@dataclass(frozen=True)
class Finding:
    """Where a rule does not hold."""

    rule: str
    severity: Severity
    symbol: str
    exchange: str
    window_start: str
    stored: str
    expected: str

    @property
    def window(self) -> tuple[str, str, str]:
        return self.symbol, self.exchange, self.window_start

    def __str__(self) -> str:
        return f"{self.rule}: {' '.join(filter(None, self.window))}: stored {self.stored}, expected {self.expected}"


@dataclass(frozen=True)
class Verdict:
    """What a check found over which ranges."""

    timeframe: str
    ranges: list[Range]
    candles: int
    trades: int
    findings: list[Finding]
    notes: list[str]
    # The provenance of the run's commit, empty where it changed nothing.
    commit: dict[str, str] = field(default_factory=dict)

    @property
    def failures(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == "FAIL"]

    @property
    def warnings(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == "WARN"]

    def counts(self) -> dict[str, int]:
        """Count the findings of every rule, those that found nothing included."""
        return dict.fromkeys(RULES, 0) | Counter(finding.rule for finding in self.findings)


def validate(settings: Settings, timeframe: Timeframe, own: Range, run_id: str = "") -> Verdict:
    """Check the candles of a range; for a run `run_id`, those of the old hours it repaired as well."""
    catalog = open_catalog(settings)
    table, trades = load_table(catalog, candles_contract(timeframe)), load_table(catalog, TRADES)
    commit = _commit_of(table, run_id, own) if run_id else {}
    repaired = (windows_of_hour(timeframe, hour) for hour in parse_hours(commit.get("ohlcv.repaired-hours", "")))
    ranges = merge_ranges([own, *(Range(span.start, min(span.end, own.end)) for span in repaired)])
    verdict = _check(timeframe, ranges, trades, table, commit)
    if not run_id:
        verdict = _excuse_owed(verdict, timeframe, progress_of(table))
        verdict = _excuse_expired(verdict, timeframe, table, datetime.now(UTC).date())
    smaller = _next_smaller(timeframe)
    if smaller is not None:
        small_table = load_table(catalog, candles_contract(smaller))
        findings = _disagreements(timeframe, smaller, ranges, trades, table, small_table)
        verdict = replace(verdict, findings=[*verdict.findings, *findings])
    return verdict


def validate_days(settings: Settings, timeframe: Timeframe, own: Range) -> Iterator[Verdict]:
    """Check a range day by day, so that memory holds one day of trades at a time."""
    start = own.start
    while start < own.end:
        end = min(ceil_time(start + MICROSECOND, DAY), own.end)
        yield validate(settings, timeframe, Range(start, end))
        start = end


def lateness(settings: Settings, timeframe: Timeframe, now: datetime) -> list[Finding]:
    """Warn of candles that are older than their schedule allows, while there are later trades."""
    state = look(settings, timeframe, now)
    with duckdb.connect() as connection:
        connection.execute(_MACROS)
        for name, time in (("due", state.due), ("newest", state.newest), ("traded", state.traded)):
            connection.execute(f"SET VARIABLE {name} = ?", [None if time is None else to_microseconds(time)])
        return list(_offenders(connection, RULES["candles_are_fresh"]))


def merged(verdicts: Sequence[Verdict]) -> Verdict:
    """Join the verdicts of a timeframe."""
    return Verdict(
        verdicts[0].timeframe,
        merge_ranges(span for verdict in verdicts for span in verdict.ranges),
        sum(verdict.candles for verdict in verdicts),
        sum(verdict.trades for verdict in verdicts),
        [finding for verdict in verdicts for finding in verdict.findings],
        list(dict.fromkeys(note for verdict in verdicts for note in verdict.notes)),
    )


def checkable(settings: Settings, timeframe: Timeframe, wanted: Range) -> Range | None:
    """Cut a range to what has been built: later windows are not missing, they are not due or the table is stale."""
    until = built_until(load_table(open_catalog(settings), candles_contract(timeframe)), timeframe)
    start = floor_time(wanted.start, timeframe.length)
    if until is None or start >= min(until, wanted.end):
        return None
    return Range(start, min(until, ceil_time(wanted.end, timeframe.length)))


def _check(timeframe: Timeframe, ranges: list[Range], trades: Table, table: Table, commit: dict[str, str]) -> Verdict:
    # As of the trades the candles were built from: those that came since are not errors. Mostly that is the run's own
    # commit; a run that found nothing to change left none, and an older try's may stand behind another's. What is
    # right by one of them is right.
    states, notes = _trades_states(trades, table, commit)
    verdict: Verdict | None = None
    for state, snapshot in states:
        found = _check_at(timeframe, ranges, state, table, snapshot)
        if verdict is not None:
            wrong = {finding.window for finding in found.failures if finding.rule in _BY_TRADES}
            still = [each for each in verdict.findings if each.rule not in _BY_TRADES or each.window in wrong]
            found = replace(verdict, findings=still)
        verdict = found
        if not any(finding.rule in _BY_TRADES for finding in verdict.findings):
            break
    assert verdict is not None
    return replace(verdict, notes=notes, commit=commit)


def _check_at(timeframe: Timeframe, ranges: list[Range], trades: Table, table: Table, snapshot: int | None) -> Verdict:
    hours = hours_touched(ranges)
    source = trades.scan(hours_filter(hours), selected_fields=_TRADE_COLUMNS, snapshot_id=snapshot).to_arrow()
    with _scene(timeframe, table, ranges) as connection:
        connection.register("read_trades", source)
        connection.execute(f"CREATE TEMP TABLE trades AS {_TRADES}")
        connection.execute(f"CREATE TEMP TABLE expected AS {_EXPECTED.format(in_ranges=_in_ranges(ranges))}")
        present = {row[0] for row in connection.execute("SELECT DISTINCT hour_number FROM trades").fetchall()}
        connection.execute("CREATE TEMP TABLE empty_hours (hour BIGINT)")
        if hours - present:
            connection.executemany("INSERT INTO empty_hours VALUES (?)", [[hour] for hour in sorted(hours - present)])
        fields = ", ".join(f"once.{name} AS stored_{name}, expected.{name} AS expected_{name}" for name in VALUES)
        group = max(timeframe.length, HOUR) // MICROSECOND
        connection.execute(f"CREATE TEMP TABLE pairs AS {_PAIRS.format(fields=fields, group=group)}")
        findings = [
            finding for rule in RULES.values() if rule.name not in _APART for finding in _offenders(connection, rule)
        ]
        candles = connection.execute("SELECT count(*) FROM stored").fetchone()
    return Verdict(timeframe.name, ranges, int(candles[0] if candles else 0), len(source), findings, [])


def _disagreements(
    timeframe: Timeframe, smaller: Timeframe, ranges: list[Range], trades: Table, table: Table, small_table: Table
) -> list[Finding]:
    """Hold the candles against those of the next smaller timeframe, as far as both have looked at the same trades."""
    progress = progress_of(small_table)
    until = built_until(small_table, smaller)
    if until is None:
        return []
    with _scene(timeframe, table, ranges) as connection:
        connection.register("small_rows", _stored_candles(small_table, ranges))
        connection.execute(
            f"CREATE TEMP TABLE smaller AS {_STORED.format(source='small_rows', in_ranges=_in_ranges(ranges, _START))}"
        )
        connection.execute("SET VARIABLE smaller_name = ?", [smaller.name])
        found = list(_offenders(connection, RULES[_BY_SMALLER]))
    spans = {finding.window_start: _window(timeframe, finding) for finding in found}
    # What the smaller one has not built yet, or knows to owe, it cannot agree with.
    judged = {
        start: span for start, span in spans.items() if span.end <= until and not hours_touched([span]) & progress.owed
    }
    if not judged:
        return []
    # Late trades reach one timeframe before the other: where each is right by the trades it has seen, they will agree.
    # What the smaller one misses is for its own check to tell: its history may not have been built yet.
    wanted = merge_ranges(judged.values())
    wrong = _check(timeframe, wanted, trades, table, {}).failures
    wrong += [
        finding for finding in _check(smaller, wanted, trades, small_table, {}).failures if finding.rule not in _LACKS
    ]
    windows = {(each.symbol, each.exchange, iso(_window_start(timeframe, each.window_start))) for each in wrong}
    return [finding for finding in found if finding.window_start in judged and finding.window in windows]


def _window(timeframe: Timeframe, finding: Finding) -> Range:
    start = _window_start(timeframe, finding.window_start)
    return Range(start, start + timeframe.length)


def _window_start(timeframe: Timeframe, instant: str) -> datetime:
    return floor_time(datetime.fromisoformat(instant), timeframe.length)


def _next_smaller(timeframe: Timeframe) -> Timeframe | None:
    fitting = [
        each for each in TIMEFRAMES.values() if each.length < timeframe.length and not timeframe.length % each.length
    ]
    return max(fitting, key=lambda each: each.length, default=None)


def _excuse_owed(verdict: Verdict, timeframe: Timeframe, progress: Progress) -> Verdict:
    """Turn what the table itself knows to owe into a warning: its next runs rebuild those hours."""
    findings = [
        replace(finding, severity="WARN")
        if finding.rule in _BY_TRADES and hours_touched([_window(timeframe, finding)]) & progress.owed
        else finding
        for finding in verdict.findings
    ]
    return replace(verdict, findings=findings)


def _excuse_expired(verdict: Verdict, timeframe: Timeframe, table: Table, today: date) -> Verdict:
    """Leave out what retention has deleted: whole partitions, of days that are not kept any more."""
    cutoff = timeframe.cutoff(today)
    days = {
        each: _window_start(timeframe, each.window_start).date() for each in verdict.findings if each.rule in _LACKS
    }
    old = {timeframe.partition_of(day) for day in days.values() if day < cutoff}
    gone = {day for day in old if not _holds_candles(table, day, timeframe.partition_after(day))}
    if not gone:
        return verdict
    findings = [each for each in verdict.findings if each not in days or timeframe.partition_of(days[each]) not in gone]
    note = f"not kept any more, and gone: {', '.join(map(str, sorted(gone)))}"
    return replace(verdict, findings=findings, notes=[*verdict.notes, note])


def _holds_candles(table: Table, first: date, end: date) -> bool:
    return any(table.scan(f"window_date >= '{first}' AND window_date < '{end}'").plan_files())


@contextmanager
def _scene(timeframe: Timeframe, table: Table, ranges: list[Range]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database in memory that holds the stored candles of the ranges."""
    wide = table.schema().find_type("volume").precision > 18  # type: ignore[attr-defined]  # the contract's decimal
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(_MACROS)
        connection.execute(f"SET VARIABLE length = {timeframe.microseconds}")
        connection.execute(f"SET VARIABLE volume_limit = {10**38 if wide else AMOUNT_LIMIT}")
        connection.register("stored_rows", _stored_candles(table, ranges))
        connection.execute(
            f"CREATE TEMP TABLE stored AS {_STORED.format(source='stored_rows', in_ranges=_in_ranges(ranges, _START))}"
        )
        yield connection


def _offenders(connection: duckdb.DuckDBPyConnection, rule: Rule) -> Iterator[Finding]:
    rows = connection.execute(
        f"SELECT * FROM ({rule.offenders()}) ORDER BY window_start, symbol, exchange, stored"
    ).fetchall()
    for symbol, exchange, start, stored, expected in rows:
        yield Finding(
            rule.name, rule.severity, symbol, exchange, iso(from_microseconds(start)), str(stored), str(expected)
        )


def _stored_candles(table: Table, ranges: list[Range]) -> pa.Table:
    first, last = ranges[0].start, ranges[-1].end
    return table.scan(f"window_start >= '{first.isoformat()}' AND window_start < '{last.isoformat()}'").to_arrow()


def _in_ranges(ranges: list[Range], column: str = "window_start") -> str:
    return (
        "("
        + " OR ".join(
            f"({column} >= {to_microseconds(span.start)} AND {column} < {to_microseconds(span.end)})" for span in ranges
        )
        + ")"
    )


def our_summary(snapshot: Snapshot) -> dict[str, str]:
    """Give what a job wrote into its commit's summary; nothing for a commit of other hands."""
    properties = snapshot.summary.additional_properties if snapshot.summary else {}
    return {name: value for name, value in properties.items() if name.startswith("ohlcv.")}


def _commit_of(table: Table, run_id: str, own: Range) -> dict[str, str]:
    """Find the newest commit of a run for a range: one that reprocesses has a commit for every day."""
    for snapshot in reversed(table.snapshots()):
        summary = our_summary(snapshot)
        if (summary.get("ohlcv.run-id"), summary.get("ohlcv.range-start")) == (run_id, iso(own.start)):
            return summary
    return {}


def _newest_commit(table: Table) -> dict[str, str]:
    return next(filter(None, map(our_summary, reversed(table.snapshots()))), {})


def progress_of(table: Table) -> Progress:
    """Read how far a candle table has looked at the trades' changes, as its jobs recorded it."""
    base, progress = 0, Progress()
    for snapshot in reversed(table.snapshots()):
        if text := our_summary(snapshot).get("ohlcv.progress"):
            base, progress = snapshot.snapshot_id, Progress.from_text(text)
            break
    if table.properties.get("ohlcv.progress-base") == str(base):
        return Progress.from_text(table.properties["ohlcv.progress"])
    return progress


def built_until(table: Table, timeframe: Timeframe) -> datetime | None:
    """Tell up to when the table has been built; None where it never was."""
    told = (our_summary(each).get("ohlcv.range-end") for each in table.snapshots())
    ends = [datetime.fromisoformat(text) for text in told if text]
    # A catalog may show the newest snapshot alone, and that may be a backfill's or maintenance's.
    if len(table.snapshots()) == 1 and (newest := newest_window(table, timeframe)) is not None:
        ends.append(from_microseconds(newest) + timeframe.length)
    return max(ends, default=None)


def _trades_states(
    trades: Table, table: Table, commit: dict[str, str]
) -> tuple[list[tuple[Table, int | None]], list[str]]:
    """Give the trades as the candles may have been built from them, the likeliest first: a table and a snapshot."""
    recorded: dict[int, str] = {}
    for summary in (commit, _newest_commit(table)):
        if snapshot := summary.get("ohlcv.trades-snapshot"):
            recorded.setdefault(int(snapshot), summary.get("ohlcv.trades-metadata", ""))
    if examined := progress_of(table).examined_snapshot:
        recorded.setdefault(examined, "")
    found = [(_as_of(trades, snapshot, metadata), snapshot) for snapshot, metadata in recorded.items()]
    kept = [(state, snapshot) for state, snapshot in found if state is not None]
    if kept:
        return list(kept), []
    notes = [f"the trades snapshot {found[0][1]} has expired: checked against the present trades"] if found else []
    return [(trades, None)], notes


def _as_of(trades: Table, snapshot: int, metadata: str) -> Table | None:
    """Give the table in which a snapshot is; None where it is gone."""
    if trades.snapshot_by_id(snapshot) is not None:
        return trades
    if not metadata:
        return None
    # A catalog that shows only the newest snapshot leaves the files of the older ones where they are.
    try:
        return StaticTable.from_metadata(metadata, trades.io.properties)
    except OSError:
        return None


def describe(verdict: Verdict) -> str:
    """Write a verdict for a log."""
    lines = [
        f"{verdict.timeframe}: {verdict.candles} candles checked against {verdict.trades} trades, "
        f"{len(verdict.failures)} failures, {len(verdict.warnings)} warnings"
    ]
    lines += [f"  range {span}" for span in verdict.ranges]
    lines += [f"  note: {note}" for note in verdict.notes]
    for severity, found in (("FAIL", verdict.failures), ("WARN", verdict.warnings)):
        lines += [f"  {severity} {finding}" for finding in found[:NAMED]]
        if len(found) > NAMED:
            lines.append(f"  and {len(found) - NAMED:,} more of {severity}")
    return "\n".join(lines)


def complaint(verdicts: Sequence[Verdict]) -> str | None:
    """Say in one line that candles are not as they must be."""
    failures = [failure for verdict in verdicts for failure in verdict.failures]
    return f"{len(failures):,} candles are not as they must be, the first: {failures[0]}" if failures else None


def as_json(verdict: Verdict) -> dict[str, Any]:
    """Give a verdict as plain values."""
    counts = verdict.counts()
    return {
        "timeframe": verdict.timeframe,
        "ranges": [{"start": iso(span.start), "end": iso(span.end)} for span in verdict.ranges],
        "candles": verdict.candles,
        "trades": verdict.trades,
        "failures": len(verdict.failures),
        "warnings": len(verdict.warnings),
        "rules": {
            rule.name: {"severity": rule.severity, "invariant": rule.invariant, "findings": counts[rule.name]}
            for rule in RULES.values()
        },
        "findings": [asdict(finding) for finding in [*verdict.failures, *verdict.warnings][:NAMED]],
        "notes": verdict.notes,
    }


def event_details(verdict: Verdict) -> dict[str, Any]:
    """Give what an asset event says of a run: its ranges and counts."""
    counts = {
        action: int(verdict.commit.get(f"ohlcv.candles-{action}", 0)) for action in ("inserted", "updated", "deleted")
    }
    return {
        "timeframe": verdict.timeframe,
        "ranges": [{"start": iso(span.start), "end": iso(span.end)} for span in verdict.ranges],
        "candles_checked": verdict.candles,
        "warnings": len(verdict.warnings),
        **counts,
        "trades_read": int(verdict.commit.get("ohlcv.trades-read", 0)),
        "rejected": json.loads(verdict.commit.get("ohlcv.trades-rejected", "{}")),
    }
