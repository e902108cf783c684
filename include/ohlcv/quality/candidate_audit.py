"""Comparison of candidates with the candles recomputed from the trades, and with the rows that they must not change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import reduce

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue, BooleanExpression, Or
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from ohlcv.config.settings import Settings
from ohlcv.iceberg.catalog_errors import described_catalog_errors
from ohlcv.iceberg.changed_files import ChangedFiles, changed_files
from ohlcv.iceberg.damage import report_damage, report_damaged_file
from ohlcv.iceberg.tables import load_table_at
from ohlcv.model.audit_records import Decisions
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import HOUR, MICROSECOND, Range
from ohlcv.model.source_hours import hours_overlapping
from ohlcv.model.table_contracts import CANDLE_COLUMNS, MEASURE_COLUMNS, TableContract
from ohlcv.model.timeframes import Timeframe
from ohlcv.quality.audit import CARRIED_OVER, AuditResult, AuditScope
from ohlcv.quality.measures import stores_measures
from ohlcv.quality.recomputation import Recomputation, common_step
from ohlcv.quality.report import Finding
from ohlcv.quality.rule_database import (
    find_violations,
    in_ranges,
    load_rows,
    select_rows,
    set_variables,
    stores_wide_volumes,
)
from ohlcv.quality.rules import Rule
from ohlcv.readers.scans import time_condition
from ohlcv.readers.trades import TradesTable, readable_trades, table_with_snapshot

# A candle that does not fit its columns is no defect of a candidate. The validation reports it.
_NOT_AUDITED = "none_is_withheld"
_HOUR = HOUR // MICROSECOND
_START = "epoch_us(window_start)"

# Tables `added` and `removed`: the rows of the files that a candidate adds to its parent, and of those that it removes.
# Preserved candles are in the ranges. Of them only the columns of the contract stay, and one row of several.
_CARRIED_OVER = """
CREATE OR REPLACE TEMP TABLE carried_over AS
WITH doubled AS (SELECT symbol, exchange, window_start FROM removed GROUP BY ALL HAVING count(*) > 1),
empty_groups AS (SELECT DISTINCT floor_divide(hour * {hour}, {group}) FROM empty_hours WHERE {preserves}),
rebuilt AS (
    SELECT {columns}, 1 AS _side FROM added WHERE NOT {outside} UNION ALL
    SELECT {columns}, -1 AS _side FROM removed WHERE NOT {outside}
),
preserved AS (
    SELECT rebuilt.* FROM rebuilt LEFT JOIN expected ON rebuilt.symbol = expected.symbol
        AND rebuilt.exchange = expected.exchange AND epoch_us(rebuilt.window_start) = expected.window_start
    WHERE floor_divide(epoch_us(rebuilt.window_start), {group}) IN (FROM empty_groups)
        AND rebuilt.trade_count > coalesce(expected.trade_count, 0)
        AND (expected.trade_count IS NULL OR expected.volume < getvariable('volume_limit') AND expected.vwap > 0)
        AND (rebuilt.symbol, rebuilt.exchange, rebuilt.window_start) NOT IN (FROM doubled)
)
SELECT *, 1 AS _side FROM added WHERE {outside} UNION ALL
SELECT *, -1 AS _side FROM removed WHERE {outside} UNION ALL BY NAME
FROM preserved
"""
# Rows that differ are paired by their key. Other writers may have added columns.
_CHANGES = """
WITH changes AS (
    SELECT {columns}, sum(_side) AS _copies FROM carried_over GROUP BY {columns} HAVING sum(_side) <> 0
),
numbered AS (
    SELECT *, row_number() OVER (
        PARTITION BY symbol, exchange, window_start, _copies > 0 ORDER BY updated_at
    ) AS _number
    FROM changes
),
new AS (SELECT * FROM numbered WHERE _copies > 0),
old AS (SELECT * FROM numbered WHERE _copies < 0)
SELECT coalesce(new.symbol, old.symbol) AS symbol, coalesce(new.exchange, old.exchange) AS exchange,
    coalesce(epoch_us(new.window_start), epoch_us(old.window_start), 0) AS window_start,
    CASE WHEN new._copies IS NULL THEN 'nothing' WHEN old._copies IS NULL THEN 'a row'
        ELSE concat_ws(', ', {new_values}) END AS stored,
    CASE WHEN old._copies IS NULL THEN 'nothing' WHEN new._copies IS NULL THEN 'a row'
        ELSE concat_ws(', ', {old_values}) END AS expected
FROM new FULL JOIN old ON new.symbol IS NOT DISTINCT FROM old.symbol
    AND new.exchange IS NOT DISTINCT FROM old.exchange
    AND new.window_start IS NOT DISTINCT FROM old.window_start AND new._number = old._number
"""


class CandidateAudit:
    """Candles recomputed from a trades snapshot, and the checks of candidates by them."""

    def __init__(
        self,
        settings: Settings,
        timeframes: list[Timeframe],
        ranges: list[Range],
        snapshot: int | None,
        metadata: str,
        memory: str,
        *,
        measures: bool = False,
    ) -> None:
        self._settings = settings
        contract = settings.trades_contract
        with described_catalog_errors(settings):
            trades = readable_trades(load_table_at(settings, contract, metadata), contract)
        self._trades = _trades_at(trades, snapshot, metadata)
        self._snapshot = snapshot
        self._recomputation = Recomputation(ranges, common_step(timeframes), memory, measures=measures)
        self._connection = self._recomputation.connection

    def recompute(self) -> None:
        """Read the trades of the ranges."""
        # Without a snapshot, the job has read no trades; the table may have some by now.
        if self._snapshot is not None:
            self._recomputation.run(self._trades, self._snapshot)

    def warnings(self) -> list[Finding]:
        """Return the findings of the rules on the trades."""
        return self._recomputation.find_source_violations()

    def check_candidate(
        self, scope: AuditScope, contract: TableContract, candidate: int, metadata: str, decisions: Decisions
    ) -> AuditResult:
        """Return the findings of a snapshot that is not published yet."""
        with described_catalog_errors(self._settings):
            table = load_table_at(self._settings, contract, metadata)
        snapshot = table.snapshot_by_id(candidate)
        if snapshot is None:
            raise OhlcvError(f"{contract} has no snapshot {candidate}, so nothing was published: run again")
        with self._recomputation.report_memory():
            self._load_candidate(scope, table, snapshot)
            findings = self._compare(scope, wide=stores_wide_volumes(table))
            findings += self._find_changes(scope, table)
            return self._result(findings, decisions)

    def check_rows(self, scope: AuditScope, rows: pa.Table, wide: bool, decisions: Decisions) -> AuditResult:
        """Return the findings of computed candles that are not written yet."""
        with self._recomputation.report_memory():
            load_rows(self._connection, "stored", rows, scope.ranges)
            return self._result(self._compare(scope, wide=wide), decisions)

    def cancel(self) -> None:
        """End a running recomputation. Another thread may call this."""
        self._recomputation.cancel()

    def close(self) -> None:
        """Free the memory."""
        self._recomputation.close()

    def _load_candidate(self, scope: AuditScope, table: Table, candidate: Snapshot) -> None:
        """Load the rows of the changed files into `added` and `removed`, and those of the ranges into `stored`."""
        empty = table.schema().as_arrow().empty_table()
        changed = _changed_files(table, candidate)
        for name, tasks in changed._asdict().items():
            self._insert(f"CREATE OR REPLACE TEMP TABLE {name} AS", empty)
            for task in tasks:
                with report_damaged_file(table, task):
                    rows = ArrowScan(table.metadata, table.io, table.schema(), AlwaysTrue()).to_table([task])
                self._insert(f"INSERT INTO {name}", rows)
        scan = table.scan(_ranges_condition(scope.ranges), snapshot_id=candidate.snapshot_id)
        known = {task.file.file_path for task in changed.added}
        with report_damage(table, scan):
            others = [task for task in scan.plan_files() if task.file.file_path not in known]
            rows = ArrowScan(table.metadata, table.io, table.schema(), scan.row_filter).to_table(others)
        self._connection.register("unchanged", rows)
        columns = _columns(table)
        candles = f"(SELECT {columns} FROM added UNION ALL SELECT {columns} FROM unchanged)"
        select_rows(self._connection, "stored", candles, scope.ranges, measures=stores_measures(table))
        self._connection.unregister("unchanged")

    def _insert(self, statement: str, rows: pa.Table) -> None:
        self._connection.register("file_rows", rows)
        self._connection.execute(f"{statement} SELECT * FROM file_rows")
        self._connection.unregister("file_rows")

    def _compare(self, scope: AuditScope, *, wide: bool) -> list[Finding]:
        """Return the violations of all rules by candles that are not held."""
        hours = hours_overlapping(scope.ranges)
        held = [key for key in sorted(scope.held) if key[2] in hours]
        self._connection.execute("CREATE OR REPLACE TEMP TABLE held (exchange VARCHAR, symbol VARCHAR, hour BIGINT)")
        if held:
            self._connection.executemany("INSERT INTO held VALUES (?, ?, ?)", held)
        set_variables(self._connection, scope.timeframe, wide=wide)
        found = self._recomputation.find_violations(scope.timeframe, scope.ranges, _is_held(scope.timeframe))
        return audited(found)

    def _find_changes(self, scope: AuditScope, table: Table) -> list[Finding]:
        """Return the changes of rows that are outside the ranges, held or preserved."""
        outside = f"(NOT coalesce({in_ranges(scope.ranges, _START)}, false) OR {_is_held(scope.timeframe, _START)})"
        group = max(scope.timeframe.microseconds, _HOUR)
        self._connection.execute(
            _CARRIED_OVER.format(
                columns=_columns(table), outside=outside, group=group, hour=_HOUR, preserves=not scope.prune
            )
        )
        names = [field.name for field in table.schema().fields]
        columns = [_quoted(name, '"') for name in names]

        def changed_values(side: str) -> str:
            return ", ".join(
                f"CASE WHEN new.{column} IS DISTINCT FROM old.{column} "
                f"THEN {_quoted(f'{name} ')} || coalesce(CAST({side}.{column} AS VARCHAR), 'NULL') END"
                for name, column in zip(names, columns, strict=True)
            )

        changes = _CHANGES.format(
            columns=", ".join(columns), new_values=changed_values("new"), old_values=changed_values("old")
        )
        rule = Rule(CARRIED_OVER, "FAIL", "a candidate changes only candles of its ranges", lambda: changes)
        return list(find_violations(self._connection, rule))

    def _result(self, findings: list[Finding], decisions: Decisions) -> AuditResult:
        names = " UNION ".join(f"SELECT symbol, exchange FROM {name}" for name in ("stored", "expected", "held"))
        ((series,),) = self._connection.execute(f"SELECT count(*) FROM ({names})").fetchall()
        waived = decisions.waived_findings()
        return AuditResult(
            [each for each in findings if each.digest not in waived],
            series,
            [each for each in findings if each.digest in waived],
        )


def audited(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings of the rules that a candidate must meet."""
    return [finding for finding in findings if finding.rule != _NOT_AUDITED]


def _columns(candles: Table) -> str:
    """Return the columns of the contract that a candle table has."""
    columns = (*CANDLE_COLUMNS, *(MEASURE_COLUMNS if stores_measures(candles) else ()))
    return ", ".join(column.name for column in columns)


def _trades_at(trades: TradesTable, snapshot: int | None, metadata: str) -> TradesTable:
    """Return the trades table that has a snapshot."""
    if snapshot is None:
        return trades
    table = table_with_snapshot(trades.table, snapshot, metadata)
    if table is None or table.snapshot_by_id(snapshot) is None:
        raise OhlcvError(
            f"the trades snapshot {snapshot} has expired, so its candles cannot be audited and nothing was published: "
            "run again"
        )
    return replace(trades, table=table)


def _ranges_condition(ranges: list[Range]) -> BooleanExpression:
    # With the date, so that few manifests are read. The job looks for stored candles by their dates, too.
    return reduce(Or, (time_condition(span.start, span.end) for span in ranges))


def _is_held(timeframe: Timeframe, start: str = "window_start") -> str:
    """Return the SQL condition that a candle belongs to a held key, given its start in microseconds."""
    group = max(timeframe.microseconds, _HOUR)
    # Never null, so that it can be negated.
    return (
        f"coalesce((exchange, symbol, floor_divide({start}, {group}) * {group // _HOUR}) "
        "IN (SELECT (exchange, symbol, hour) FROM held), false)"
    )


def _quoted(name: str, mark: str = "'") -> str:
    return f"{mark}{name.replace(mark, mark * 2)}{mark}"


def _changed_files(table: Table, candidate: Snapshot) -> ChangedFiles:
    """Return the data files that a snapshot adds to its parent, and those that it removes."""
    parent = None
    if candidate.parent_snapshot_id is not None:
        parent = table.snapshot_by_id(candidate.parent_snapshot_id)
        if parent is None:
            raise OhlcvError(
                f"the snapshot of {'.'.join(table.name())} that the candidate replaces has expired, so nothing was "
                "published: run again"
            )
    return changed_files(table, parent, candidate)
