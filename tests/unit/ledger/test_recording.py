"""Rules of the recording: which rows the ledger has after each kind of publication."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from pyiceberg.table.snapshots import Operation
from pyiceberg.types import LongType

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import extend, widen_volume
from ohlcv.ledger import recording, row_differences
from ohlcv.model import summary_keys
from support.audited_tables import built
from support.candle_rows import DAY, MINUTE, Row, at
from support.default_tables import candles_contract
from support.ledger_site import STAMP, LedgerSite

ONE, TWO, THREE = (Decimal(number) for number in (1, 2, 3))


def candle(minute: int, price: str = "1", day: int = 1) -> Row:
    return built(MINUTE, f"2026-03-{day:02}T12:{minute:02}", price)


@pytest.fixture
def site(settings: Settings) -> LedgerSite:
    return LedgerSite(settings)


def triggers(site: LedgerSite) -> list[str]:
    return [publication.trigger for publication in site.publications()]


def test_the_ledger_begins_at_the_present_state(site: LedgerSite) -> None:
    site.build(candle(0))
    snapshot = site.build(candle(1))
    report = site.record()
    (publication,) = site.publications()
    assert (publication.number, publication.trigger, publication.snapshot) == (1, "first", snapshot)
    assert (report.publications, report.checkpoint) == (1, publication)
    assert site.revisions() == []


def test_the_ledger_begins_at_an_empty_table_and_records_its_first_publication(site: LedgerSite) -> None:
    site.record()
    site.build(candle(0))
    site.record()
    first, second = site.publications()
    assert (first.snapshot, second.trigger, second.inserted) == (None, "scheduled", 1)
    assert first.visible_at < second.visible_at
    assert site.changes() == []


def test_recording_again_records_nothing(site: LedgerSite) -> None:
    site.build(candle(0))
    site.record()
    site.build(candle(0, "2"))
    assert (site.record().publications, site.record().publications) == (1, 0)
    assert len(site.publications()) == 2
    assert site.changes() == [(2, "updated", "12:00", ONE)]


def test_insertions_by_a_job_need_no_row(site: LedgerSite) -> None:
    site.build(candle(0))
    site.record()
    site.build(candle(1))
    report = site.record()
    assert site.changes() == []
    newest = site.publications()[-1]
    assert (newest.number, newest.inserted, newest.updated, newest.deleted) == (2, 1, 0, 0)
    assert newest.written_at == site.rows[-1]["created_at"]
    assert report.checkpoint == newest


def test_an_update_and_a_deletion_record_the_values_before(site: LedgerSite) -> None:
    site.build(candle(0), candle(1))
    site.record()
    old = site.rows[0]
    site.build(candle(0, "2"), delete=[candle(1)])
    report = site.record()
    assert site.changes() == [(2, "updated", "12:00", ONE), (2, "deleted", "12:01", ONE)]
    row = site.revisions()[0]
    assert {name: row[name] for name in old} == old
    newest = site.publications()[-1]
    assert (newest.inserted, newest.updated, newest.deleted) == (0, 1, 1)
    assert report.revisions == {"deleted": 1, "updated": 1}


def test_an_insertion_with_the_stamp_of_an_earlier_publication_is_recorded(site: LedgerSite) -> None:
    site.build(candle(0))
    site.record()
    site.build(candle(1), stamp=STAMP + timedelta(days=1))
    site.build(candle(2), stamp=STAMP + timedelta(days=1))
    site.record()
    assert site.changes() == [(3, "inserted", "12:02", None)]
    assert [each.written_at for each in site.publications()][2] is None


def test_insertions_by_another_writer_are_recorded(site: LedgerSite) -> None:
    site.build(candle(0))
    site.record()
    # Its stamps may be those of older candles.
    added = candle(1)
    site.replace([*site.rows, added | {"updated_at": added["created_at"]}])
    site.record()
    assert site.changes() == [(2, "inserted", "12:01", None)]
    newest = site.publications()[-1]
    assert (newest.trigger, newest.written_at, newest.run_id) == ("other writer", None, None)
    assert site.revisions()[0]["causes"] == ["unknown"]


def test_a_rollback_and_its_reversal_are_recorded(site: LedgerSite) -> None:
    first = site.build(candle(0))
    site.record()
    second = site.build(candle(0, "2"), candle(1))
    site.roll_back(first)
    site.roll_back(second)
    site.record()
    assert triggers(site) == ["first", "scheduled", "rollback", "rollback"]
    assert site.changes() == [
        (2, "updated", "12:00", ONE),
        (3, "updated", "12:00", TWO),
        (3, "deleted", "12:01", ONE),
        (4, "updated", "12:00", ONE),
        (4, "inserted", "12:01", None),
    ]
    assert [row["causes"] for row in site.revisions()[1:]] == [[]] * 4
    assert [each.snapshot for each in site.publications()] == [first, second, first, second]


def test_a_rollback_to_before_the_ledger_is_no_gap(site: LedgerSite) -> None:
    first = site.build(candle(0))
    site.build(candle(0, "2"))
    site.record()
    site.roll_back(first)
    site.record()
    assert triggers(site) == ["first", "rollback"]
    assert site.changes() == [(2, "updated", "12:00", TWO)]


def test_a_compaction_is_recorded_without_a_comparison(site: LedgerSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site.build(candle(0))
    site.record()
    site.replace(site.rows, {summary_keys.MAINTENANCE: "compact"}, Operation.REPLACE)
    monkeypatch.setattr(row_differences, "_read", lambda *_: pytest.fail("no file needs to be read"))
    site.record()
    assert triggers(site) == ["first", "maintenance"]


def test_a_rollback_from_a_compaction_is_compared(site: LedgerSite) -> None:
    site.build(candle(0))
    site.record()
    compacted = site.replace(site.rows, {summary_keys.MAINTENANCE: "compact"}, Operation.REPLACE)
    site.build(candle(0, "2"))
    site.roll_back(compacted)
    site.record()
    assert triggers(site) == ["first", "maintenance", "scheduled", "rollback"]
    assert site.changes() == [(3, "updated", "12:00", ONE), (4, "updated", "12:00", TWO)]


def test_maintenance_is_only_that_of_the_publication_before(site: LedgerSite) -> None:
    first = site.build(candle(0))
    site.record()
    site.build(candle(0, "2"))
    # A compaction of the older state, published later on top of the newer one.
    compacted = site.compact_on_a_branch(first)
    site.roll_back(compacted)
    site.record()
    assert triggers(site) == ["first", "scheduled", "other writer"]
    assert site.changes() == [(2, "updated", "12:00", ONE), (3, "updated", "12:00", TWO)]


def test_retention_is_no_revision(site: LedgerSite) -> None:
    site.build(candle(0, day=1), candle(0, day=2), candle(0, day=3))
    site.record()
    site.replace(site.rows[2:], {summary_keys.MAINTENANCE: "delete", summary_keys.RUN_ID: "r"}, Operation.DELETE)
    site.record()
    newest = site.publications()[-1]
    assert (newest.trigger, newest.run_id, newest.deleted) == ("retention", "r", 0)
    assert newest.deleted_partitions == (at("2026-03-01").date(), at("2026-03-02").date())
    assert site.revisions() == []


def test_partitions_of_daily_candles_are_months(settings: Settings) -> None:
    site = LedgerSite(settings, DAY)
    site.build(*(built(DAY, f"2026-0{month}-01") for month in (1, 2, 3)))
    site.record()
    site.replace(site.rows[1:], {summary_keys.MAINTENANCE: "delete"}, Operation.DELETE)
    site.record()
    assert site.publications()[-1].deleted_partitions == (at("2026-01-01").date(),)


def test_a_deletion_by_another_writer_is_a_revision(site: LedgerSite) -> None:
    site.build(candle(0), candle(0, day=2))
    site.record()
    site.replace(site.rows[1:], operation=Operation.DELETE)
    site.record()
    assert triggers(site)[-1] == "other writer"
    assert site.changes() == [(2, "deleted", "12:00", ONE)]


def test_the_trigger_names_the_kind_of_run(site: LedgerSite) -> None:
    runs = {
        ("ohlcv_1m", "scheduled__2026-03-01"): "scheduled",
        ("ohlcv_1m", "backfill__2026-03-01"): "backfill",
        ("ohlcv_1m", "manual__2026-03-01"): "manual",
        ("ohlcv_reprocess", "manual__2026-03-02"): "reprocess",
        ("", ""): "manual",
    }
    site.record()
    for minute, (dag_id, run_id) in enumerate(runs):
        site.build(candle(minute), dag_id=dag_id, run_id=run_id)
    site.record()
    found = {(each.dag_id or "", each.run_id or ""): each.trigger for each in site.publications()[1:]}
    assert found == runs


def test_a_key_stored_twice_has_a_row_per_copy(site: LedgerSite) -> None:
    site.build(candle(0))
    site.record()
    (stored,) = site.rows
    # In another file: the first one does not change.
    site.commit([stored | {"close_price": TWO}], {}, Operation.APPEND)
    site.rows = [stored, stored | {"close_price": TWO}]
    site.record()
    assert site.changes() == [(2, "updated", "12:00", ONE)]
    site.replace([stored | {"close_price": THREE}], {summary_keys.TIMEFRAME: "1m"})
    site.record()
    assert site.changes()[1:] == [(3, "updated", "12:00", ONE), (3, "updated", "12:00", TWO)]


def test_equal_copies_of_a_key_are_counted(site: LedgerSite) -> None:
    site.build(candle(0))
    site.record()
    (stored,) = site.rows
    site.replace([stored, stored, stored])
    site.replace([stored])
    site.record()
    assert site.changes() == [(2, "updated", "12:00", ONE), *[(3, "updated", "12:00", ONE)] * 3]


def test_a_key_that_a_job_inserts_twice_is_recorded(site: LedgerSite) -> None:
    site.build(candle(0))
    site.record()
    stamp = STAMP + timedelta(days=1)
    added = candle(1) | {"created_at": stamp, "updated_at": stamp}
    site.replace([*site.rows, added, added], {summary_keys.TIMEFRAME: "1m"})
    site.record()
    assert site.changes() == [(2, "inserted", "12:01", None)]


def test_null_equals_null_and_differs_from_a_value(site: LedgerSite) -> None:
    without = candle(0) | {"vwap": None}
    site.build(without, candle(1))
    site.record()
    site.replace([site.rows[0] | {"vwap": ONE}, site.rows[1] | {"vwap": None}])
    site.replace([site.rows[0] | {"vwap": TWO}, site.rows[1]])
    site.record()
    values = [(row["publication"], row["window_start"].minute, row["vwap"]) for row in site.revisions()]
    assert values == [(2, 0, None), (2, 1, ONE), (3, 0, ONE)]


def test_a_key_with_null_is_compared(site: LedgerSite) -> None:
    site.build(candle(0))
    site.record()
    nameless = candle(1) | {"symbol": None}
    site.replace([*site.rows, nameless])
    site.replace([site.rows[0], nameless | {"close_price": TWO}])
    site.record()
    assert site.changes() == [(2, "inserted", "12:01", None), (3, "updated", "12:01", ONE)]


def test_additional_columns_are_no_revision(site: LedgerSite) -> None:
    site.build(candle(0))
    site.record()
    with site.table().update_schema() as update:
        update.add_column("note", LongType())
    site.replace([row | {"note": 5} for row in site.rows], operation=Operation.OVERWRITE)
    site.record()
    assert triggers(site) == ["first", "other writer"]
    assert site.revisions() == []


def test_a_volume_that_was_widened_is_no_revision(site: LedgerSite) -> None:
    site.build(candle(0), candle(1))
    site.record()
    widen_volume(site.settings, site.settings.candles_contract(MINUTE))
    large = Decimal(10) ** 25
    site.build(candle(1) | {"volume": large})
    site.build(candle(1))
    site.record()
    assert [(row["publication"], row["volume"]) for row in site.revisions()] == [(2, TWO), (3, large)]


def test_revisions_of_several_months_are_recorded(site: LedgerSite) -> None:
    months = [built(MINUTE, f"2026-0{month}-15T12:00") for month in (1, 2, 3)]
    site.build(*months)
    site.record()
    site.build(*(row | {"close_price": TWO} for row in months))
    site.record()
    assert site.changes() == [(2, "updated", "12:00", ONE)] * 3
    march = site.revisions_table().scan("window_start >= '2026-03-01T00:00:00+00:00'")
    assert [task.file.partition[1] for task in march.plan_files()] == [(2026 - 1970) * 12 + 2]


def test_publications_keep_one_file_per_month(site: LedgerSite) -> None:
    site.build(candle(0))
    for price in "123":
        site.build(candle(0, price))
        site.record()
    assert [each.number for each in site.publications()] == [1, 2, 3]
    assert len(list(site.publications_table().scan().plan_files())) == 1


def test_timeframes_do_not_share_numbers(site: LedgerSite, settings: Settings) -> None:
    daily = LedgerSite(settings, DAY)
    for each, row in ((site, candle(0)), (daily, built(DAY, "2026-03-01"))):
        each.build(row)
        each.record()
        each.build(row | {"close_price": TWO})
        each.record()
    assert [[each.number for each in ledger.publications()] for ledger in (site, daily)] == [[1, 2], [1, 2]]
    assert [ledger.changes() for ledger in (site, daily)] == [
        [(2, "updated", "12:00", ONE)],
        [(2, "updated", "00:00", ONE)],
    ]


def test_a_clock_that_goes_back_loses_nothing(site: LedgerSite) -> None:
    site.time = at("2026-03-01T12:30")
    site.build(candle(0))
    site.record()
    for price, minute in (("2", 20), ("3", 40), ("4", 10)):
        site.time = at(f"2026-03-01T12:{minute}")
        site.build(candle(0, price))
    site.record()
    assert [each.visible_at.minute for each in site.publications()] == [30, 20, 40, 10]
    assert site.changes() == [(number, "updated", "12:00", Decimal(number - 1)) for number in (2, 3, 4)]


@pytest.mark.parametrize(("limit", "value"), [("BATCH_CHANGES", 1), ("BATCH_PUBLICATIONS", 1), ("FILE_ROWS", 1)])
def test_several_batches_record_the_same(
    site: LedgerSite, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    site.build(candle(0), candle(1))
    site.record()
    for price in "234":
        site.build(candle(0, price), candle(1, price))
    monkeypatch.setattr(recording, limit, value)
    assert site.record().publications == 3
    expected = [(number, "updated", f"12:0{minute}", Decimal(number - 1)) for number in (2, 3, 4) for minute in (0, 1)]
    assert site.changes() == expected
    assert [each.number for each in site.publications()] == [1, 2, 3, 4]


def test_a_staged_candidate_is_no_publication(site: LedgerSite) -> None:
    site.build(candle(0))
    site.record()
    site.stage({summary_keys.TIMEFRAME: "1m"})
    assert site.record().publications == 0


def test_the_states_of_a_history_can_be_restored(site: LedgerSite) -> None:
    """Undo the revisions from the newest state, as the readers do."""
    states = []
    for minute, price in ((0, "1"), (1, "1"), (0, "2"), (2, "1"), (0, "3"), (1, "2")):
        site.build(candle(minute, price))
        states.append({row["window_start"]: row for row in site.rows})
        site.record()
    publications = site.publications()
    state = dict(states[-1])
    for (before, publication), expected in zip(reversed([*pairwise(publications)]), reversed(states[:-1]), strict=True):
        inserted = [start for start, row in state.items() if row["created_at"] == publication.written_at]
        for start in inserted:
            del state[start]
        for row in site.revisions():
            if row["publication"] == publication.number:
                state[row["window_start"]] = {name: row[name] for name in expected[row["window_start"]]}
        assert state == expected, before.number


def test_measures_are_no_revision(site: LedgerSite) -> None:
    site.build(candle(0), candle(1))
    site.record()
    extend(site.settings, candles_contract(MINUTE))
    filled = {"quote_volume": TWO, "first_trade_at": STAMP, "last_trade_at": STAMP}
    # A candle is filled, and then its side is corrected.
    for measures in (filled, filled | {"taker_buy_volume": TWO, "taker_buy_quote_volume": TWO}):
        site.replace([site.rows[0] | measures, *site.rows[1:]], {summary_keys.DAG_ID: "ohlcv_1m"})
    site.record()
    site.build(candle(1, "2"))
    site.record()
    counts = [(each.inserted, each.updated, each.deleted) for each in site.publications()]
    assert counts == [(0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 1, 0)]
    assert [change[:3] for change in site.changes()] == [(4, "updated", "12:01")]
