"""What the audit stores in a candle table: the names of its fields, and how decisions match held series."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ohlcv.model.audit_records import (
    Decisions,
    HeldSeries,
    Rejection,
    Retry,
    Waiver,
    finding_digest,
    held_from_json,
    held_to_json,
    values_digest,
)
from ohlcv.model.intervals import HOUR, Range
from ohlcv.model.source_checkpoint import SourceCheckpoint
from ohlcv.model.timeframes import TIMEFRAMES
from support.planner_simulation import DAY_START, FIRST_HOUR, held_series

NOON = "2026-03-01T12:00:00Z"
HELD = HeldSeries("kraken", "BTC/USD", FIRST_HOUR + 12, "none_is_missing", 3, "a1b2c3d4", 5, 7, NOON, NOON)
# Existing tables contain this JSON.
HELD_JSON = {
    "exchange": "kraken",
    "symbol": "BTC/USD",
    "hour": FIRST_HOUR + 12,
    "rule": "none_is_missing",
    "findings": 3,
    "values": "a1b2c3d4",
    "candidate": 5,
    "trades_snapshot": 7,
    "since": NOON,
    "tried": NOON,
}
REJECTION = Rejection(
    "ohlcv_1m", "scheduled__1", None, 7, NOON, NOON, "2026-03-01T12:05:00Z", "none_is_extra", 9, 8, 100, ("a", "b")
)
WAIVER = Waiver("kraken", "BTC/USD", HELD.hour, HELD.values, ("0123", "4567"), "ana", "the venue's error", NOON)
RETRY = Retry("kraken", "BTC/USD", HELD.hour, NOON)


def test_the_stored_names_of_held_series_do_not_change() -> None:
    assert held_to_json([HELD]) == [HELD_JSON]
    assert held_from_json([HELD_JSON]) == {HELD}
    computed = replace(HELD, candidate=None)
    assert held_from_json(json.loads(json.dumps(held_to_json([computed])))) == {computed}


def test_held_series_are_stored_in_order_so_that_equal_checkpoints_have_equal_texts() -> None:
    held = [held_series(FIRST_HOUR + hour, NOON, symbol) for symbol in "cab" for hour in (2, 1)]
    texts = {SourceCheckpoint(7, held=frozenset(order)).to_text() for order in (held, held[::-1], sorted(held))}
    assert len(texts) == 1
    assert SourceCheckpoint.from_text(texts.pop()) == SourceCheckpoint(7, held=frozenset(held))


def test_a_checkpoint_without_held_series_is_that_of_older_versions() -> None:
    text = SourceCheckpoint(7).to_text()
    assert "held" not in json.loads(text)
    assert SourceCheckpoint.from_text(text).held == frozenset()
    assert json.loads(SourceCheckpoint(7, held=frozenset({HELD})).to_text())["held"] == [HELD_JSON]


@pytest.mark.parametrize(("timeframe", "hours"), [("1m", (12, 13)), ("1h", (12, 13)), ("1d", (0, 24))], ids=str)
def test_a_key_names_the_timeframe_and_the_first_hour_of_its_windows(timeframe: str, hours: tuple[int, int]) -> None:
    held, width = replace(HELD, hour=FIRST_HOUR + hours[0]), TIMEFRAMES[timeframe]
    assert held.name(width) == f"{timeframe}:2026-03-01T{hours[0]:02}:kraken:BTC/USD"
    assert held.span(width) == Range(DAY_START + hours[0] * HOUR, DAY_START + hours[1] * HOUR)
    assert held.key == ("kraken", "BTC/USD", FIRST_HOUR + hours[0])


def test_the_stored_names_of_a_rejection_do_not_change() -> None:
    assert json.loads(REJECTION.to_text()) == {
        "dag_id": "ohlcv_1m",
        "run_id": "scheduled__1",
        "candidate": None,
        "trades_snapshot": 7,
        "at": NOON,
        "start": NOON,
        "end": "2026-03-01T12:05:00Z",
        "rule": "none_is_extra",
        "findings": 9,
        "failing": 8,
        "series": 100,
        "first": ["a", "b"],
    }
    assert Rejection.from_text(REJECTION.to_text()) == REJECTION
    assert Rejection.from_text(None) is None


def test_the_stored_names_of_decisions_do_not_change() -> None:
    decisions = Decisions((WAIVER,), (RETRY,))
    assert json.loads(decisions.to_text()) == {
        "waivers": [
            {
                "exchange": "kraken",
                "symbol": "BTC/USD",
                "hour": HELD.hour,
                "values": "a1b2c3d4",
                "findings": ["0123", "4567"],
                "author": "ana",
                "reason": "the venue's error",
                "at": NOON,
            }
        ],
        "retries": [{"exchange": "kraken", "symbol": "BTC/USD", "hour": HELD.hour, "tried": NOON}],
    }
    assert Decisions.from_text(decisions.to_text()) == decisions
    assert Decisions.from_text(None) == Decisions()


@pytest.mark.parametrize(
    "other",
    [
        replace(HELD, exchange="x"),
        replace(HELD, symbol="x"),
        replace(HELD, hour=HELD.hour + 1),
        replace(HELD, tried="2026-03-01T12:05:00Z"),
    ],
    ids=["exchange", "symbol", "hour", "tried since"],
)
def test_a_request_is_for_one_series_until_a_run_has_tried_it(other: HeldSeries) -> None:
    decisions = Decisions(retries=(RETRY,))
    assert decisions.wants_retry(HELD)
    assert decisions.wants_retry(replace(HELD, values="other", since="earlier"))
    assert not decisions.wants_retry(other)
    assert not Decisions().wants_retry(HELD)


def test_waived_findings_are_those_of_all_waivers() -> None:
    other = replace(WAIVER, symbol="ETH/USD", findings=("4567", "89ab"))
    assert Decisions((WAIVER, other)).waived_findings() == {"0123", "4567", "89ab"}
    assert Decisions().waived_findings() == frozenset()


def test_a_digest_depends_on_each_part_of_a_finding_and_on_its_place() -> None:
    """Waivers in existing tables contain digests."""
    parts = ("none_is_missing", "BTC/USD", "kraken", NOON, "", "100")
    assert finding_digest(*parts) == "f5e7ad17460361c8"
    others = [(*parts[:place], "x", *parts[place + 1 :]) for place in range(len(parts))]
    moved = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("c", "ab")]
    digests = [finding_digest(*each) for each in (parts, *others, *moved)]
    assert len(set(digests)) == len(digests)


def test_the_digest_of_values_does_not_depend_on_their_order() -> None:
    digests = [finding_digest(text) for text in "abc"]
    assert values_digest(digests) == values_digest(digests[::-1])
    assert len(values_digest(digests)) == 8
    assert len({values_digest(digests[:count]) for count in range(4)}) == 4
