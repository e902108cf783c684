"""Candles of a vintage: as known some time after the end of their windows, and as first published."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ohlcv.config.settings import Settings
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import iso
from ohlcv.readers.point_in_time import read_past_candles
from support.candle_rows import HOUR, Row, at, window_starts
from support.ledger import RecordedHistory
from support.past_reads import NOON, closes, hour


@pytest.fixture
def history(settings: Settings) -> RecordedHistory:
    return RecordedHistory(settings, HOUR, NOON)


def test_values_are_those_of_the_age(settings: Settings) -> None:
    history = RecordedHistory(settings, HOUR, at("2026-03-01T10:00"))
    history.job([])
    history.now = at("2026-03-01T12:04")
    history.job([hour("01T11", "1")])
    history.now = at("2026-03-01T12:30")
    history.job([hour("01T11", "2"), hour("01T10", "8")])
    history.record()
    assert closes(history, vintage="5m", end=at("2026-03-01T12:00")) == ["01T11 1"]
    assert closes(history, vintage="4m") == []
    assert closes(history, vintage="31m") == ["01T11 2"]
    assert closes(history, vintage="91m") == ["01T10 8", "01T11 2"]
    assert closes(history, vintage=timedelta(minutes=91)) == ["01T10 8", "01T11 2"]
    assert closes(history, vintage="first") == ["01T11 1"]
    assert closes(history, vintage="first", start=at("2026-03-01T10:00")) == ["01T10 8", "01T11 1"]


def test_windows_whose_vintage_is_not_recorded_yet_are_left_out(history: RecordedHistory) -> None:
    history.job([hour("01T11"), hour("01T12")])
    history.record()
    assert closes(history, vintage="2h") == ["01T11 1", "01T12 1"]
    history.now = at("2026-03-01T14:30")
    later = history.job([hour("01T12", "2")])
    table = read_past_candles(history.settings, HOUR, vintage="2h")
    assert window_starts(table) == ["2026-03-01T11:00"]
    assert table.schema.metadata[b"ohlcv.known_until"] == iso(later.seen_at).encode()


def test_the_earliest_time_that_is_not_recorded_limits_a_vintage(history: RecordedHistory) -> None:
    history.job([hour("01T11"), hour("01T12")])
    history.record()
    history.now = at("2026-03-01T15:30")
    history.job([hour("01T12", "2")])
    # The clock of the other client is slow.
    history.now = at("2026-03-01T14:30")
    slow = history.job([hour("01T12", "3")])
    table = read_past_candles(history.settings, HOUR, vintage="2h")
    assert window_starts(table) == ["2026-03-01T11:00"]
    assert table.schema.metadata[b"ohlcv.known_until"] == iso(slow.seen_at).encode()


def test_a_vintage_before_the_ledger_is_refused(history: RecordedHistory) -> None:
    history.job([hour("01T09"), hour("01T10"), hour("01T11")])
    history.record()
    assert closes(history, vintage="1h", start=at("2026-03-01T11:00")) == ["01T11 1"]
    with pytest.raises(InputError, match=r"is before the ledger, .*: available for windows from 2026-03-01T11:00:00Z$"):
        closes(history, vintage="1h", start=at("2026-03-01T10:00"))
    assert closes(history, vintage="1h") == ["01T11 1"]


def test_first_values_that_were_replaced_before_the_ledger_are_refused(history: RecordedHistory) -> None:
    unchanged: Row = {"created_at": NOON, "updated_at": NOON}
    changed: Row = {"created_at": NOON, "updated_at": NOON + timedelta(minutes=1)}
    history.commit([hour("01T09", **changed), hour("01T10", **unchanged)], trigger="other writer")
    history.job([hour("01T09", "2"), hour("01T10", "2"), hour("01T12", "3")])
    history.record()
    assert closes(history, vintage="first", start=at("2026-03-01T10:00")) == ["01T10 1", "01T12 3"]
    with pytest.raises(InputError, match=r"were replaced before .* windows from 2026-03-01T10:00:00Z$"):
        closes(history, vintage="first", start=at("2026-03-01T09:00"))
    # Without a start: from the begin of the ledger.
    assert closes(history, vintage="first") == []


def test_a_candle_that_was_deleted_has_a_first_value(history: RecordedHistory) -> None:
    history.job([])
    history.job([hour("01T12")])
    history.job(deleted=[hour("01T12")])
    history.job([hour("01T12", "5")])
    history.record()
    assert closes(history, vintage="first", start=at("2026-03-01T12:00")) == ["01T12 1"]
