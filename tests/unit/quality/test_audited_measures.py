"""The audit of candidates compares measures, and rows that are not rebuilt keep theirs."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from ohlcv.cli.audit_details import print_details
from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import extend
from ohlcv.model.audit_records import NO_DECISIONS, Rejection
from ohlcv.model.intervals import Range
from ohlcv.model.source_hours import hour_number
from ohlcv.quality.audit import CARRIED_OVER, Audit, AuditResult, AuditScope
from ohlcv.quality.failed_candles import FailedCandles
from ohlcv.quality.failure_details import failure_details
from support.audited_tables import add_trades, built, candle_table, publish, stage, trade
from support.candle_rows import MINUTE, Row, at
from support.default_tables import candles_contract
from support.measured_candles import (
    FIVE_MINUTES,
    INCOMPLETE,
    NOON,
    ONE,
    WITHOUT,
    extend_and_load,
    found,
    measured,
    source,
)

SPAN = Range(NOON, ONE)
ETH = measured(MINUTE, "2026-03-01T12:00", "ETH")
CARRIED = measured(MINUTE, "2026-03-01T11:59")


@pytest.fixture
def extended(settings: Settings) -> Settings:
    """Return settings with extended tables and two buys."""
    extend_and_load(settings)
    return settings


def audit(settings: Settings, *rows: Row, scope: AuditScope | None = None, before: tuple[Row, ...] = ()) -> AuditResult:
    """Audit a candidate of these rows after a state before it."""
    if before:
        publish(settings, MINUTE, before)
    snapshot = source(settings).table.current_snapshot()
    assert snapshot is not None
    candidate = stage(settings, MINUTE, rows)
    ranges = [Range(at("2026-03-01T10:00"), ONE)]
    metadata = source(settings).table.metadata_location
    with closing(Audit(settings, [MINUTE], ranges, snapshot.snapshot_id, metadata, "512m", measures=True)) as found_by:
        return found_by.check_candidate(
            scope or AuditScope(MINUTE, [SPAN]),
            candles_contract(MINUTE),
            candidate,
            candle_table(settings, MINUTE).metadata_location,
            NO_DECISIONS,
        )


@pytest.mark.parametrize(
    ("values", "findings"),
    [
        ({}, []),
        (WITHOUT, []),
        (
            {"last_trade_at": ONE},
            [("measures_equal_the_trades", "last_trade_at 2026-03-01T13:00:00.000000Z", "2026-03-01T12:00:00.000000Z")],
        ),
        ({"quote_volume": None}, [("measures_are_complete", "no quote_volume", INCOMPLETE)]),
    ],
)
def test_the_measures_of_a_candidate_are_audited(
    extended: Settings, values: dict[str, Any], findings: list[tuple[str, str, str]]
) -> None:
    result = audit(extended, CARRIED, measured(MINUTE, "2026-03-01T12:00", **values), ETH, before=(CARRIED,))
    assert found(result) == [(rule, "BTC", stored, recomputed) for rule, stored, recomputed in findings]
    assert set(result.failing(MINUTE) or {}) == ({("X", "BTC", hour_number(NOON))} if findings else set())


def test_rows_are_audited_before_they_are_written(extended: Settings) -> None:
    schema = candle_table(extended, MINUTE).schema().as_arrow()
    rows = pa.Table.from_pylist([measured(MINUTE, "2026-03-01T12:00"), ETH | {"quote_volume": Decimal(1)}], schema)
    table = source(extended).table
    snapshot = table.current_snapshot()
    assert snapshot is not None
    with closing(
        Audit(extended, [MINUTE], [SPAN], snapshot.snapshot_id, table.metadata_location, "512m", measures=True)
    ) as checks:
        result = checks.check_rows(AuditScope(MINUTE, [SPAN]), rows, False, NO_DECISIONS)
    assert [(each.rule, each.symbol) for each in result.findings] == [("measures_equal_the_trades", "ETH")]


def test_an_audit_of_several_tables_compares_the_measures_that_a_table_has(settings: Settings) -> None:
    extend(settings, candles_contract(FIVE_MINUTES))
    add_trades(settings, trade("2026-03-01T12:00") | {"side": "BUY"})
    assert found(audit(settings, built(MINUTE, "2026-03-01T12:00"))) == []


@pytest.mark.parametrize("scope", ["outside", "held", "preserved"])
def test_rows_that_are_not_rebuilt_keep_their_measures(extended: Settings, scope: str) -> None:
    btc = measured(MINUTE, "2026-03-01T12:00")
    # The hour of 10:00 is in the ranges, and its trades have expired.
    row = measured(MINUTE, "2026-03-01T10:30") if scope == "preserved" else btc if scope == "held" else CARRIED
    ranges = [Range(at("2026-03-01T10:00"), at("2026-03-01T11:00"))] if scope == "preserved" else []
    held = frozenset({("X", "BTC", hour_number(NOON))} if scope == "held" else ())
    others = [each for each in (btc, ETH) if each is not row]
    before = (row, *others)
    audited = AuditScope(MINUTE, [*ranges, SPAN], held)
    assert found(audit(extended, *before, scope=audited, before=before)) == []
    result = audit(extended, row | WITHOUT, *others, scope=audited)
    assert [(each.rule, each.symbol) for each in result.findings] == [(CARRIED_OVER, "BTC")]
    assert "quote_volume NULL" in result.findings[0].stored
    assert "quote_volume 2.0000000000000000" in result.findings[0].expected


def test_the_details_of_a_failure_show_measures_and_sides(
    extended: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    # Versions that differ only in their side: that of the greater text is the latest.
    snapshot = add_trades(extended, trade("2026-03-01T12:00") | {"side": "SELL"})
    candidate = stage(extended, MINUTE, [measured(MINUTE, "2026-03-01T12:00"), ETH])
    failed = FailedCandles(
        MINUTE, candle_table(extended, MINUTE), candidate, source(extended), snapshot, [SPAN], None, []
    )
    details = failure_details(extended, failed)
    (window,) = details.windows
    assert {each.rule for each in details.findings} == {"measures_equal_the_trades"}
    assert window.held is not None
    assert window.recomputed is not None
    assert (window.held["taker_buy_volume"], window.recomputed["taker_buy_volume"]) == ("2.00000000", "0.00000000")
    assert window.recomputed["last_trade_at"] == "2026-03-01T12:00:00.000000Z"
    assert [(each["side"], each["verdict"]) for each in window.trades] == [("SELL", "accepted"), ("BUY", "superseded")]
    print_details(MINUTE, Rejection("dag", "run", candidate, snapshot, "", "", "", "", 2, 1, 2, ()), details)
    output = capsys.readouterr().out
    assert all(text in output for text in ("taker_buy_quote_volume", "side", "SELL", "superseded"))


def test_the_details_of_a_table_without_measures_have_none(settings: Settings) -> None:
    snapshot = add_trades(settings, trade("2026-03-01T12:00") | {"side": "SELL"})
    candidate = stage(settings, MINUTE, [built(MINUTE, "2026-03-01T12:00") | {"trade_count": 2}])
    failed = FailedCandles(
        MINUTE, candle_table(settings, MINUTE), candidate, source(settings), snapshot, [SPAN], None, []
    )
    (window,) = failure_details(settings, failed).windows
    assert "quote_volume" not in (window.held or {})
    assert "side" not in window.trades[0]
