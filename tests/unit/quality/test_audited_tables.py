"""The validation of tables with audited commits, held series and waived findings."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ohlcv.config.settings import Settings
from ohlcv.model import summary_keys
from ohlcv.model.audit_records import DECISIONS_PROPERTY, Decisions, HeldSeries, Waiver, values_digest
from ohlcv.model.intervals import Range, iso
from ohlcv.model.source_checkpoint import SourceCheckpoint
from ohlcv.model.source_hours import hour_number
from ohlcv.model.timeframes import Timeframe, get_timeframe
from ohlcv.quality import validator
from ohlcv.quality.report import (
    Finding,
    ValidationResult,
    asset_event_extra,
    findings_to_text,
    format_result,
    merge_results,
    verdict,
)
from ohlcv.quality.validator import validate
from support.audited_tables import add_trades, built, candle_table, publish, trade
from support.candle_rows import MINUTE, Row, at

FIVE_MINUTES = get_timeframe("5m")
NOON, ONE, TWO = (at(f"2026-03-01T{hour}:00") for hour in (12, 13, 14))
SPAN = Range(NOON, TWO)
RUN = "a run"
WARNING = Finding("few_trades_are_rejected", "WARN", "BTC", "X", "2026-03-01T12:00:00Z", "1 of 2", "at most 1%")


def rows(timeframe: Timeframe, wrong: str = "") -> list[Row]:
    """Return the candles of all trades; those of the series or of the time in `wrong` have a wrong volume."""
    found = [built(timeframe, f"2026-03-01T{hour}:00", symbol=symbol) for hour in (12, 13) for symbol in ("BTC", "ETH")]
    for row in found:
        if wrong in (row["symbol"], f"{row['symbol']} {row['window_start']:%H}"):
            row["volume"] = Decimal(3)
    return found


def held(symbol: str, hour: int) -> HeldSeries:
    return HeldSeries("X", symbol, hour, "fields_equal_the_trades", 1, "01234567", None, 1, iso(ONE), iso(ONE))


@pytest.fixture
def snapshot(settings: Settings) -> int:
    """Load the trades and return their snapshot."""
    return add_trades(
        settings, *(trade(f"2026-03-01T{hour}:00", symbol=s) for hour in (12, 13) for s in ("BTC", "ETH"))
    )


def build(
    settings: Settings,
    timeframe: Timeframe,
    snapshot: int,
    wrong: str = "",
    *held: HeldSeries,
    audited: bool = False,
    withheld: int = 0,
) -> None:
    """Publish the candles as a run does."""
    checkpoint = SourceCheckpoint(trades_snapshot=snapshot, committed_at=0, built_since=0, held=frozenset(held))
    summary = {
        summary_keys.TRADES_SNAPSHOT: str(snapshot),
        summary_keys.CHECKPOINT: checkpoint.to_text(),
        summary_keys.RUN_ID: RUN,
        summary_keys.RANGE_START: iso(NOON),
        summary_keys.RANGE_END: iso(TWO),
        summary_keys.TRADES_READ: "4",
        summary_keys.CANDLES_WITHHELD: str(withheld),
        **({summary_keys.AUDIT: summary_keys.AUDIT_OF_CANDIDATE} if audited else {}),
        **({summary_keys.AUDIT_WARNINGS: findings_to_text([WARNING])} if audited else {}),
    }
    publish(settings, timeframe, rows(timeframe, wrong), summary)


def found(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return [(each.rule, each.symbol, each.window_start[11:13]) for each in findings]


class TestHeldSeries:
    def test_their_findings_are_warnings(self, settings: Settings, snapshot: int) -> None:
        build(settings, MINUTE, snapshot, "BTC", held("BTC", hour_number(NOON)))
        for run_id in ("", RUN):
            result = validate(settings, MINUTE, SPAN, run_id)
            assert found(result.warnings) == [("fields_equal_the_trades", "BTC", "12")]
            assert found(result.failures) == [("fields_equal_the_trades", "BTC", "13")]
            assert result.held == 1

    def test_rules_that_need_no_trades_fail(self, settings: Settings, snapshot: int) -> None:
        build(settings, MINUTE, snapshot, "", held("BTC", hour_number(NOON)))
        publish(settings, MINUTE, [*rows(MINUTE), rows(MINUTE)[0]])
        assert found(validate(settings, MINUTE, SPAN).failures) == [("key_is_unique", "BTC", "12")]

    def test_their_number_is_reported(self) -> None:
        days = [ValidationResult("1m", [SPAN], 1, 2, [], [], held=count) for count in (3, 2)]
        result = merge_results(days)
        assert format_result(result).splitlines()[0].endswith("0 failures, 0 warnings, 2 held series")
        assert (verdict(result, ONE)["held"], asset_event_extra(result)["held"]) == (2, 2)

    @pytest.mark.parametrize("finer_is_held", [True, False])
    def test_only_their_windows_may_differ_from_the_finer_timeframe(
        self, settings: Settings, snapshot: int, finer_is_held: bool
    ) -> None:
        series = held("BTC", hour_number(NOON))
        wrong, right = (MINUTE, FIVE_MINUTES) if finer_is_held else (FIVE_MINUTES, MINUTE)
        build(settings, right, snapshot)
        build(settings, wrong, snapshot, "BTC", series)
        failures = found(validate(settings, FIVE_MINUTES, SPAN).failures)
        assert [each for each in failures if each[0] == "agrees_with_the_smaller"] == [
            ("agrees_with_the_smaller", "BTC", "13")
        ]


class TestWaivedFindings:
    def waive(self, settings: Settings, failures: list[Finding]) -> None:
        digests = tuple(each.digest for each in failures)
        waiver = Waiver("X", "BTC", hour_number(NOON), values_digest(digests), digests, "me", "known", iso(TWO))
        with candle_table(settings, MINUTE).transaction() as transaction:
            transaction.set_properties({DECISIONS_PROPERTY: Decisions((waiver,)).to_text()})

    def test_they_are_warnings_with_a_note(self, settings: Settings, snapshot: int) -> None:
        build(settings, MINUTE, snapshot, "BTC 12")
        self.waive(settings, validate(settings, MINUTE, SPAN).failures)
        result = validate(settings, MINUTE, SPAN)
        assert (found(result.failures), found(result.warnings)) == ([], [("fields_equal_the_trades", "BTC", "12")])
        assert result.notes == ["waived: 1m:2026-03-01T12:X:BTC by me at 2026-03-01T14:00:00Z: known"]

    def test_other_values_fail(self, settings: Settings, snapshot: int) -> None:
        build(settings, MINUTE, snapshot, "BTC 12")
        self.waive(settings, validate(settings, MINUTE, SPAN).failures)
        publish(settings, MINUTE, [row | {"volume": row["volume"] * 2} for row in rows(MINUTE, "BTC 12")][:1])
        assert ("fields_equal_the_trades", "BTC", "12") in found(validate(settings, MINUTE, SPAN).failures)

    def test_they_may_differ_from_the_finer_timeframe(self, settings: Settings, snapshot: int) -> None:
        build(settings, MINUTE, snapshot, "BTC 12")
        build(settings, FIVE_MINUTES, snapshot)
        assert found(validate(settings, FIVE_MINUTES, SPAN).failures) == [("agrees_with_the_smaller", "BTC", "12")]
        self.waive(settings, validate(settings, MINUTE, SPAN).failures)
        assert validate(settings, FIVE_MINUTES, SPAN).failures == []


class TestAuditedRun:
    """A run whose candles were recomputed before they were published."""

    def test_they_are_not_recomputed_again(
        self, settings: Settings, snapshot: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        build(settings, MINUTE, snapshot, audited=True)
        monkeypatch.setattr(validator, "validate_against_trades", None)
        result = validate(settings, MINUTE, SPAN, RUN)
        assert (result.candles, result.trades, result.findings) == (4, 4, [WARNING])
        assert result.notes == ["recomputed from the trades before publication"]

    def test_a_validation_without_the_run_recomputes_them(self, settings: Settings, snapshot: int) -> None:
        build(settings, MINUTE, snapshot, "BTC 12", audited=True)
        assert found(validate(settings, MINUTE, SPAN).failures) == [("fields_equal_the_trades", "BTC", "12")]

    def test_a_run_without_an_audit_is_recomputed(self, settings: Settings, snapshot: int) -> None:
        build(settings, MINUTE, snapshot, "BTC 12")
        assert found(validate(settings, MINUTE, SPAN, RUN).failures) == [("fields_equal_the_trades", "BTC", "12")]

    def test_withheld_candles_are_found(self, settings: Settings, snapshot: int) -> None:
        build(settings, MINUTE, snapshot, "BTC 12", audited=True, withheld=1)
        assert found(validate(settings, MINUTE, SPAN, RUN).failures) == [("fields_equal_the_trades", "BTC", "12")]

    def test_the_other_rules_run(self, settings: Settings, snapshot: int) -> None:
        build(settings, MINUTE, snapshot, audited=True)
        build(settings, FIVE_MINUTES, snapshot, "BTC 12", audited=True)
        (failure,) = validate(settings, FIVE_MINUTES, SPAN, RUN).failures
        assert found([failure]) == [("agrees_with_the_smaller", "BTC", "12")]
