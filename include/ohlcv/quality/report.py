"""Results of a validation, as text, JSON, verdicts and asset events."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from ohlcv.model import summary_keys
from ohlcv.model.audit_records import finding_digest
from ohlcv.model.intervals import Range, iso, merge_ranges
from ohlcv.quality.rules import RULES, Severity

# Maximum number of findings in a log or JSON report; their total number is always included.
MAX_LISTED_FINDINGS = 20
# Airflow persists the verdict of every run in its database, so its size is limited.
VERDICT_KEY = "verdict"
MAX_LISTED_RANGES, MAX_LISTED_NOTES = 50, 20
MAX_TEXT = 200


@dataclass(frozen=True)
class Finding:
    """A violation of a rule."""

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

    @property
    def digest(self) -> str:
        """Return the digest that a waiver of the finding names."""
        return finding_digest(*map(str, (self.rule, *self.window, self.stored, self.expected)))

    def __str__(self) -> str:
        return f"{self.rule}: {' '.join(filter(None, self.window))}: stored {self.stored}, expected {self.expected}"


@dataclass(frozen=True)
class ValidationResult:
    """Findings of a validation and the validated ranges."""

    timeframe: str
    ranges: list[Range]
    candles: int
    trades: int
    findings: list[Finding]
    notes: list[str]
    # Summary of the run's commit; empty if the run changed nothing.
    commit: dict[str, str] = field(default_factory=dict)
    # Number of held series in the source checkpoint of the table.
    held: int = 0

    @property
    def failures(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == "FAIL"]

    @property
    def warnings(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == "WARN"]

    def counts(self) -> dict[str, int]:
        """Return the number of findings of every rule, zeros included."""
        return dict.fromkeys(RULES, 0) | Counter(finding.rule for finding in self.findings)


def merge_results(results: Sequence[ValidationResult]) -> ValidationResult:
    """Merge the results of one timeframe."""
    return ValidationResult(
        results[0].timeframe,
        merge_ranges(span for result in results for span in result.ranges),
        sum(result.candles for result in results),
        sum(result.trades for result in results),
        [finding for result in results for finding in result.findings],
        list(dict.fromkeys(note for result in results for note in result.notes)),
        held=results[-1].held,
    )


def format_result(result: ValidationResult) -> str:
    """Return a result as text for a log."""
    lines = [
        f"{result.timeframe}: {result.candles} candles validated against {result.trades} trades, "
        f"{len(result.failures)} failures, {len(result.warnings)} warnings"
        + (f", {result.held} held series" if result.held else "")
    ]
    lines += [f"  range {span}" for span in result.ranges]
    lines += [f"  note: {note}" for note in result.notes]
    for severity, found in (("FAIL", result.failures), ("WARN", result.warnings)):
        lines += [f"  {severity} {finding}" for finding in found[:MAX_LISTED_FINDINGS]]
        if len(found) > MAX_LISTED_FINDINGS:
            lines.append(f"  and {len(found) - MAX_LISTED_FINDINGS:,} more {severity} findings")
    return "\n".join(lines)


def failure_message(results: Sequence[ValidationResult]) -> str | None:
    """Return one line about the failed rules, or None if no rule failed."""
    failures = [failure for result in results for failure in result.failures]
    return f"{len(failures):,} validation failures, the first: {failures[0]}" if failures else None


def result_to_json(result: ValidationResult) -> dict[str, Any]:
    """Return a result as JSON types."""
    counts = result.counts()
    return {
        "timeframe": result.timeframe,
        "ranges": [{"start": iso(span.start), "end": iso(span.end)} for span in result.ranges],
        "candles": result.candles,
        "trades": result.trades,
        "failures": len(result.failures),
        "warnings": len(result.warnings),
        "held": result.held,
        "rules": {
            rule.name: {"severity": rule.severity, "invariant": rule.invariant, "findings": counts[rule.name]}
            for rule in RULES.values()
        },
        "findings": [asdict(finding) for finding in [*result.failures, *result.warnings][:MAX_LISTED_FINDINGS]],
        "notes": result.notes,
    }


def findings_to_text(findings: Sequence[Finding]) -> str:
    """Return the first findings as the JSON stored in a snapshot summary."""
    return json.dumps([asdict(finding) for finding in findings[:MAX_LISTED_FINDINGS]])


def findings_from_text(text: str) -> list[Finding]:
    """Return the findings that `findings_to_text` wrote."""
    return [Finding(**values) for values in json.loads(text)]


def run_report(results: Sequence[ValidationResult], validated_at: datetime) -> dict[str, Any]:
    """Return everything that the validation task of a run publishes: complaint, verdicts and asset events."""
    return {
        "complaint": failure_message(results),
        "verdicts": [verdict(result, validated_at) for result in results],
        "events": [asset_event_extra(result) for result in results],
    }


def verdict(result: ValidationResult, validated_at: datetime) -> dict[str, Any]:
    """Return a result as JSON types of limited size."""
    document = result_to_json(result)
    ranges, notes = document["ranges"], document["notes"]
    if len(ranges) > MAX_LISTED_RANGES:
        notes = [f"and {len(ranges) - MAX_LISTED_RANGES:,} more ranges", *notes]
    return {
        **document,
        "at": iso(validated_at),
        "passed": not result.failures,
        "ranges": ranges[:MAX_LISTED_RANGES],
        "rules": {
            name: {"severity": rule["severity"], "findings": rule["findings"]}
            for name, rule in document["rules"].items()
        },
        "findings": [{name: shorten(text) for name, text in finding.items()} for finding in document["findings"]],
        "notes": [shorten(text) for text in notes[:MAX_LISTED_NOTES]],
    }


def shorten(text: str) -> str:
    """Return a text of limited length."""
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def asset_event_extra(result: ValidationResult) -> dict[str, Any]:
    """Return the payload of the asset event of a run: its ranges and counts."""
    counts = {
        action: int(result.commit.get(summary_keys.candles_changed(action), 0)) for action in summary_keys.CHANGES
    }
    return {
        "timeframe": result.timeframe,
        "ranges": [{"start": iso(span.start), "end": iso(span.end)} for span in result.ranges],
        "candles_checked": result.candles,
        "warnings": len(result.warnings),
        "held": result.held,
        **counts,
        "trades_read": int(result.commit.get(summary_keys.TRADES_READ, 0)),
        "rejected": json.loads(result.commit.get(summary_keys.TRADES_REJECTED, "{}")),
    }
