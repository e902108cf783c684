"""The verdict of a validation: its content and its limited size."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta

from ohlcv.model.intervals import Range
from ohlcv.quality.report import Finding, ValidationResult, run_report, verdict
from ohlcv.quality.rules import RULES, Severity
from support.candle_rows import at

NOON = at("2026-03-01T12:00")
SPAN = Range(NOON, NOON + timedelta(minutes=10))


def finding(rule: str, symbol: str = "BTC-USD", severity: Severity = "FAIL") -> Finding:
    return Finding(rule, severity, symbol, "binance", "2026-03-01T12:00:00Z", "1.0", "2.0")


def test_a_verdict_has_a_count_for_every_rule() -> None:
    findings = [finding("key_is_unique"), finding("few_trades_are_rejected", severity="WARN")]
    document = verdict(ValidationResult("1m", [SPAN], 80, 9_383, findings, ["a note"]), NOON)
    assert list(document["rules"]) == list(RULES)
    assert document["rules"].pop("key_is_unique") == {"severity": "FAIL", "findings": 1}
    assert document["rules"].pop("few_trades_are_rejected") == {"severity": "WARN", "findings": 1}
    assert {rule["findings"] for rule in document.pop("rules").values()} == {0}
    assert document == {
        "timeframe": "1m",
        "ranges": [{"start": "2026-03-01T12:00:00Z", "end": "2026-03-01T12:10:00Z"}],
        "candles": 80,
        "trades": 9_383,
        "failures": 1,
        "warnings": 1,
        "held": 0,
        "findings": [asdict(each) for each in findings],
        "notes": ["a note"],
        "at": "2026-03-01T12:00:00Z",
        "passed": False,
    }


def test_warnings_alone_pass() -> None:
    result = ValidationResult("1m", [SPAN], 80, 9, [finding("few_trades_are_rejected", severity="WARN")], [])
    assert verdict(result, NOON)["passed"] is True


def test_the_size_of_a_verdict_is_limited() -> None:
    """A symbol, the number of findings, ranges and notes can be of any size."""
    ranges = [Range(NOON + timedelta(hours=n), NOON + timedelta(hours=n, minutes=1)) for n in range(1_000)]
    findings = [finding("none_is_missing", "€" * 10_000) for _ in range(1_000)]
    result = ValidationResult("1m", ranges, 0, 0, findings, ["n" * 10_000] * 1_000)
    document = verdict(result, NOON)
    assert (document["failures"], document["rules"]["none_is_missing"]["findings"]) == (1_000, 1_000)
    assert (len(document["findings"]), len(document["ranges"]), len(document["notes"])) == (20, 50, 20)
    assert document["findings"][0]["symbol"] == "€" * 199 + "…"
    assert document["notes"][0] == "and 950 more ranges"
    assert len(json.dumps(document)) < 50_000


def test_the_report_of_a_run_has_a_verdict_per_timeframe() -> None:
    results = [ValidationResult(name, [SPAN], 1, 1, [], []) for name in ("1m", "1h")]
    report = run_report(results, NOON)
    assert report["complaint"] is None
    assert [each["timeframe"] for each in report["verdicts"]] == ["1m", "1h"]
    assert [each["timeframe"] for each in report["events"]] == ["1m", "1h"]
