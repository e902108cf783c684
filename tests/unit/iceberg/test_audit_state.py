"""What the audit has recorded in a candle table."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ohlcv.config.settings import Settings
from ohlcv.iceberg.audit_state import AuditState, read_audit_state
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model.audit_records import Decisions
from support.audit_records import NOON, commit_range, held_series, hold, reject, rejected_run
from support.candidates import stage
from support.candle_rows import MINUTE
from support.default_tables import candles_contract

RUN = timedelta(minutes=10)


def state(settings: Settings) -> AuditState:
    return read_audit_state(load_table(open_catalog(settings), candles_contract(MINUTE)), MINUTE)


def test_a_table_without_records(settings: Settings) -> None:
    assert state(settings) == AuditState(MINUTE, (), None, False, Decisions())
    assert state(settings).oldest_age(NOON) is None


def test_the_series_that_was_held_first_is_first(settings: Settings) -> None:
    young = held_series(exchange="a", since="2026-03-01T12:30:00+00:00")
    old = held_series(exchange="b", since="2026-03-01T11:30:00Z")
    hold(settings, MINUTE, young, old)
    assert state(settings).held == (old, young)
    assert state(settings).oldest_age(NOON) == timedelta(minutes=30)


@pytest.mark.parametrize(
    ("ranges", "is_resolved"),
    [
        ([(NOON, NOON + RUN, "")], True),
        ([(NOON + timedelta(minutes=5), NOON + RUN * 2, "")], False),
        ([(NOON - RUN, NOON, ""), (NOON, NOON + RUN / 2, ""), (NOON + RUN / 2, NOON + RUN, "")], True),
        ([(NOON + RUN * 6, NOON + RUN * 7, "2026-03-01T12")], True),
        ([(NOON + RUN * 6, NOON + RUN * 7, "2026-03-01T11")], False),
    ],
)
def test_a_rejected_run_is_resolved_by_later_commits_of_its_range(
    settings: Settings, ranges: list[tuple[object, object, str]], is_resolved: bool
) -> None:
    reject(settings, MINUTE, rejected_run())
    assert state(settings).is_resolved is False
    for start, end, rebuilt in ranges:
        commit_range(settings, MINUTE, start, end, rebuilt)  # type: ignore[arg-type]
    assert state(settings).is_resolved is is_resolved


def test_a_rejected_run_is_not_resolved_by_earlier_commits(settings: Settings) -> None:
    commit_range(settings, MINUTE, NOON, NOON + RUN)
    reject(settings, MINUTE, rejected_run(at="2999-01-01T00:00:00Z"))
    assert state(settings).is_resolved is False


def test_a_rejected_run_is_not_resolved_by_a_candidate(settings: Settings) -> None:
    reject(settings, MINUTE, rejected_run())
    table = load_table(open_catalog(settings), candles_contract(MINUTE))
    stage(table, {"ohlcv.range-start": "2026-03-01T12:00:00Z", "ohlcv.range-end": "2026-03-01T12:10:00Z"})
    assert state(settings).is_resolved is False
