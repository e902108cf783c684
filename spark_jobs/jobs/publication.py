"""Publication of a rebuild: write a candidate that no reader sees, audit it, and make it the table's current state.

The audit recomputes the candles in another engine (`ohlcv.quality.audit`). A series that fails keeps its stored candles
and is held; the others are published. Too many failing series, or a failure that belongs to no series, reject the run.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ohlcv.config.settings import Settings
from ohlcv.config.values import megabytes
from ohlcv.model import summary_keys
from ohlcv.model.audit_records import (
    CANDIDATE_BRANCH,
    REJECTION_PROPERTY,
    HeldSeries,
    Rejection,
    values_digest,
)
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import Range, iso, parse_time
from ohlcv.model.table_contracts import AMOUNT
from ohlcv.model.timeframes import Timeframe
from ohlcv.quality.audit import Audit, AuditResult, AuditScope
from ohlcv.quality.report import Finding, findings_to_text
from spark_jobs.iceberg import staging
from spark_jobs.iceberg.candle_writer import stored_rows, volume_type, write
from spark_jobs.iceberg.table_metadata import metadata_file, read_decisions, read_rejection, record_checkpoint
from spark_jobs.iceberg.trades_history import TableHistory
from spark_jobs.jobs.rebuild import NOT_AUDITED, Report
from spark_jobs.runtime.job_runner import PhaseTimer
from spark_jobs.runtime.py4j_bridge import JavaObject
from spark_jobs.runtime.spark_errors import LostRaceError, first_line

# The error of a rejected run and its record name this many findings.
NAMED_FINDINGS, RECORDED_FINDINGS = 2, 5


@contextmanager
def start_audit(
    settings: Settings, timeframes: Iterable[Timeframe], ranges: list[Range], history: TableHistory, *, measures: bool
) -> Iterator[Audit | None]:
    """Recompute the candles of the ranges beside the block. None if no timeframe is audited before its publication.

    `measures` says whether one of the candle tables is extended.
    """
    audited = [each for each in timeframes if settings.tuning[each.name].audit == "before"]
    if not audited or not ranges:
        yield None
        return
    memory = max((settings.tuning[each.name].audit_memory for each in audited), key=megabytes)
    audit = Audit(settings, audited, ranges, history.snapshot, history.metadata, memory, measures=measures)
    try:
        yield audit
    finally:
        audit.close()


def publish(report: Report, settings: Settings, audit: Audit | None, timer: PhaseTimer) -> dict[str, Any]:
    """Publish the changes of a rebuild in one commit, or none if there are none, and return the report of the run."""
    timeframe, table = report.timeframe, report.target.table
    if audit is None or not report.has_changes or settings.tuning[timeframe.name].audit == "after":
        with timer.phase("write"):
            return report.to_json(_commit(report))
    has_lock = report.target.guard.has_lock
    # Some REST catalogs show only the newest snapshot of a table. There the rows are audited before they are written.
    has_candidates = has_lock or staging.keeps_snapshots(table)
    with timer.phase("audit"):
        warnings = audit.warnings()
    _log_findings("WARN", warnings)
    summary = {
        summary_keys.AUDIT: summary_keys.AUDIT_OF_CANDIDATE if has_candidates else summary_keys.AUDIT_OF_COMPUTED,
        summary_keys.AUDIT_WARNINGS: findings_to_text(warnings),
    }
    candidates: list[_Candidate] = []
    # The second candidate holds the series that failed in the first one. If it fails, single series are not the cause.
    for is_last in (False, True):
        with timer.phase("write"):
            candidates.append(_stage(report, summary) if has_candidates else _Candidate())
        with timer.phase("audit"):
            result = _audit(audit, report, candidates)
        if not result.findings:
            with timer.phase("publish"):
                return report.to_json(_publish(report, candidates, summary, has_lock=has_lock))
        if is_last:
            break
        report = _without_failing(report, result, candidates, settings.tuning[timeframe.name].held_percent)
        if not report.has_changes:
            _discard(report, _branches(candidates), _superseded(report))
            return report.to_json(_commit(report))
    raise _reject(report, result, candidates)


@dataclass(frozen=True)
class _Candidate:
    """Candles that wait for their audit: a snapshot on a branch, or rows that are not written yet."""

    branch: str = ""
    snapshot: int | None = None


def _commit(report: Report, audit: Mapping[str, str] = NOT_AUDITED) -> int | None:
    """Write the changes to main, or only the checkpoint if there are none."""
    target = report.target
    if not report.has_changes:
        if report.checkpoint != target.checkpoint:
            record_checkpoint(target.table, report.checkpoint)
        return None
    if target.guard.has_lock:
        # The lock may be lost while Spark writes. Then the publication of a candidate finds that main has moved.
        return _publish(report, [_stage(report, audit)], audit, has_lock=True)
    return int(_write(report, uuid.uuid4().hex, audit).snapshotId())


def _write(report: Report, attempt: str, audit: Mapping[str, str], branch: str | None = None) -> JavaObject:
    target = report.target
    return write(
        report.comparison,
        target.stored,
        target.contract,
        target.table,
        report.plan.ranges,
        report.summary(attempt, audit),
        target.guard,
        branch,
    )


def _stage(report: Report, summary: Mapping[str, str]) -> _Candidate:
    """Write the changes to a branch."""
    table = report.target.table
    staging.permit_staging(table)
    attempt = uuid.uuid4().hex
    branch = f"{CANDIDATE_BRANCH}{attempt}"
    if report.target.snapshot is not None:
        staging.create_branch(table, branch, report.target.snapshot)
    snapshot = _write(report, attempt, summary, branch)
    if snapshot.parentId() != report.target.snapshot:
        _discard(report, [branch])
        raise LostRaceError(f"{table.name()}: another writer committed while the candles were computed")
    return _Candidate(branch, int(snapshot.snapshotId()))


def _audit(audit: Audit, report: Report, candidates: list[_Candidate]) -> AuditResult:
    """Audit the last candidate. If that fails, remove the candidates."""
    target, candidate = report.target, candidates[-1].snapshot
    scope = AuditScope(report.timeframe, report.plan.ranges, report.comparison.held, prune=report.request.prune)
    decisions = read_decisions(target.table)
    try:
        if candidate is not None:
            result = audit.check_candidate(scope, target.contract, candidate, metadata_file(target.table), decisions)
        else:
            is_wide = volume_type(target.table) != AMOUNT
            result = audit.check_rows(scope, stored_rows(report.comparison).toArrow(), is_wide, decisions)
    except Exception:
        _discard(report, _branches(candidates), [each.snapshot for each in candidates if each.snapshot])
        raise
    _log_findings("FAIL", result.findings)
    _log_findings("waived", result.waived)
    return result


def _branches(candidates: list[_Candidate]) -> list[str]:
    return [each.branch for each in candidates if each.snapshot]


def _discard(report: Report, branches: list[str], superseded: Iterable[int] = ()) -> None:
    """Remove branches and candidates. What cannot be removed now is removed by maintenance."""
    try:
        staging.discard(report.target.table, branches, {}, superseded)
    except Exception as error:
        print(f"candidates remain until maintenance removes them: {first_line(error)}", file=sys.stderr, flush=True)


def _log_findings(kind: str, findings: list[Finding]) -> None:
    for finding in findings[:RECORDED_FINDINGS]:
        print(f"audit: {kind} {finding}", file=sys.stderr)
    if len(findings) > RECORDED_FINDINGS:
        print(f"audit: and {len(findings) - RECORDED_FINDINGS:,} more {kind} findings", file=sys.stderr)
    sys.stderr.flush()


def _publish(report: Report, candidates: list[_Candidate], summary: Mapping[str, str], *, has_lock: bool) -> int | None:
    """Make the last candidate main's current snapshot, or write the audited rows."""
    table, candidate = report.target.table, candidates[-1]
    if candidate.snapshot is None:
        return _commit(report, summary)
    # With the write lock no other job can have a candidate: the others are those of killed jobs.
    branches = staging.candidate_branches(table) if has_lock else _branches(candidates)
    try:
        staging.publish(table, candidate.snapshot, branches, report.target.guard.assert_lock_held)
    except LostRaceError:
        # The run starts again with another branch.
        _discard(report, branches)
        raise
    if superseded := _superseded(report):
        _discard(report, [], superseded)
    return candidate.snapshot


def _superseded(report: Report) -> set[int]:
    """Return the candidates of held series that this run released or tried again."""
    before, after = (
        {each.candidate for each in checkpoint.held if each.candidate is not None}
        for checkpoint in (report.target.checkpoint, report.checkpoint)
    )
    return before - after


def _without_failing(report: Report, result: AuditResult, candidates: list[_Candidate], held_percent: int) -> Report:
    """Return the report of a run that holds the failing series, or raise if the run is rejected."""
    timeframe = report.timeframe
    failing = result.failing(timeframe)
    known = {each.key: each for each in report.target.checkpoint.held}
    # Series that fail again do not count: a retry must not reject the run, and with it the candles of the others.
    if failing is None or _count_series(failing.keys() - known.keys()) * 100 > held_percent * result.series:
        raise _reject(report, result, candidates)
    end = report.plan.own_range.end
    held = []
    for (exchange, symbol, hour), findings in failing.items():
        old = known.get((exchange, symbol, hour))
        held.append(
            HeldSeries(
                exchange=exchange,
                symbol=symbol,
                hour=hour,
                rule=findings[0].rule,
                findings=len(findings),
                values=values_digest(finding.digest for finding in findings),
                candidate=candidates[-1].snapshot,
                trades_snapshot=report.source.snapshot or 0,
                since=old.since if old else _now(),
                tried=iso(end if old is None else max(end, parse_time(old.tried)[0])),
            )
        )
    for each in sorted(held, key=lambda each: each.key):
        print(f"audit: held back: {each.name(timeframe)} (findings: {each.findings})", file=sys.stderr, flush=True)
    return report.holding(held)


def _count_series(failing: Iterable[tuple[str, str, int]]) -> int:
    return len({(exchange, symbol) for exchange, symbol, _ in failing})


def _reject(report: Report, result: AuditResult, candidates: list[_Candidate]) -> OhlcvError:
    """Record a rejected run, and return its error."""
    table, request = report.target.table, report.request
    failing = result.failing(report.timeframe)
    first = result.findings[0]
    rejection = Rejection(
        dag_id=request.dag_id,
        run_id=request.run_id,
        candidate=candidates[-1].snapshot,
        trades_snapshot=report.source.snapshot or 0,
        at=_now(),
        start=iso(report.plan.own_range.start),
        end=iso(report.plan.own_range.end),
        rule=first.rule,
        findings=len(result.findings),
        failing=_count_series(failing or ()),
        series=result.series,
        first=tuple(map(str, result.findings[:RECORDED_FINDINGS])),
    )
    previous = read_rejection(table)
    superseded = {each.snapshot for each in candidates[:-1]} | {previous.candidate if previous else None}
    staging.discard(
        table,
        _branches(candidates),
        {REJECTION_PROPERTY: rejection.to_text()},
        {each for each in superseded if each is not None},
    )
    findings = f"{rejection.findings:,} finding{'s' if rejection.findings > 1 else ''}"
    share = f" in {rejection.failing:,} of {rejection.series:,} series" if failing else ""
    named = "; ".join(rejection.first[:NAMED_FINDINGS])
    # The findings last: a notification cuts long errors.
    return OhlcvError(
        f"the audit rejected the {report.timeframe} candles, nothing was published: look closer with "
        f"'ohlcv audit show {request.run_id or report.timeframe}': {findings}{share}, the first: {named}"
    )


def _now() -> str:
    return iso(datetime.now(UTC).replace(microsecond=0))
