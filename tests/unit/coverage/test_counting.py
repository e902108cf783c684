"""Counts of the deliveries of an hour."""

from __future__ import annotations

import pytest

from ohlcv.config.settings import Settings
from ohlcv.coverage import counting
from support.coverage_site import HOUR, CoverageSite, delivery


@pytest.fixture
def site(settings: Settings) -> CoverageSite:
    return CoverageSite(settings)


def test_a_correction_moves_a_trade_to_another_minute(site: CoverageSite) -> None:
    late = HOUR * 3_600_000_000 + 5_000_000
    site.deliver(delivery(1, source_sequence=4), delivery(61, source_sequence=9, ingestion_timestamp=late + 10**9))
    site.record()
    row = site.row()
    assert (row["accepted"], row["superseded"], row["duplicates"]) == (1, 1, 0)
    assert row["minutes"] == 0b10
    assert row["first_trade"] == row["last_trade"]
    # The numbers of both versions were delivered, and the first one arrived before the time of the correction.
    assert (row["lowest_sequence"], row["highest_sequence"], row["sequences"]) == (4, 9, 2)
    assert row["delays"] == [1, 0, 0, 0, 0, 0, 0, 0, 0]
    site.assert_recorded()


def test_a_rejected_version_replaces_no_trade(site: CoverageSite) -> None:
    site.deliver(delivery(1), delivery(2, price=0, ingestion_timestamp=10**18, source_sequence=3))
    site.record()
    row = site.row()
    assert (row["deliveries"], row["accepted"], row["rejected_bad_price"], row["sequences"]) == (2, 1, 1, 0)
    site.assert_recorded()


def test_rejected_deliveries_without_a_series_are_counted_under_an_empty_one(site: CoverageSite) -> None:
    site.deliver(delivery(exchange=None), delivery(symbol=None), delivery(exchange=None, symbol=None))
    site.record()
    assert [(row["exchange"], row["symbol"], row["rejected_null_key"]) for row in site.rows()] == [
        ("", "", 1),
        ("", "BTC", 1),
        ("X", "", 1),
    ]
    assert all((row["accepted"], row["first_trade"], row["delays"]) == (0, None, [0] * 9) for row in site.rows())


def test_the_last_minute_of_the_hour_is_the_highest_bit(site: CoverageSite) -> None:
    site.deliver(delivery(3_599.999999))
    site.record()
    assert site.row()["minutes"] == 2**59


def test_trades_whose_identities_have_the_same_hash_are_different_trades(
    site: CoverageSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "IDENTITY_HASH", "CAST(1 AS UBIGINT)")
    trades = [delivery(number, str(number)) for number in range(3)]
    site.deliver(*trades, delivery(1, "1"), delivery(1, None, message_id="1"), delivery(1, "1", symbol="ETH"))
    site.record()
    assert [(row["accepted"], row["duplicates"]) for row in site.rows()] == [(4, 1), (1, 0)]
    site.assert_recorded()


def test_extreme_numbers_are_counted(site: CoverageSite) -> None:
    extremes = -(2**63), 2**63 - 1
    for number, extreme in enumerate(extremes):
        site.deliver(
            delivery(1, f"arrival {number}", ingestion_timestamp=extreme),
            delivery(1, f"sequence {number}", source_sequence=extreme),
            delivery(1, f"time {number}", timestamp=extreme),
        )
    site.record()
    row = site.row()
    assert (row["rejected_wrong_partition"], row["delays"][0], row["delays"][7]) == (2, 3, 1)
    assert (row["lowest_sequence"], row["highest_sequence"], row["sequences"]) == (*extremes, 2)
    site.assert_recorded()


def test_batches_of_several_files_are_counted_together(site: CoverageSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_BATCH_ROWS", 2)
    for number in range(5):
        site.deliver(delivery(number, str(number)), delivery(number, "again"))
    site.record()
    assert (site.row()["accepted"], site.row()["superseded"]) == (6, 4)
    site.assert_recorded()
