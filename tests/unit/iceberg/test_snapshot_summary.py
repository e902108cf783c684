"""What a table says about its runs: only its published snapshots count, never staged or rolled back ones."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.snapshot_summary import main_snapshots, newest_commit, read_checkpoint, run_commit
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model import summary_keys
from ohlcv.model.intervals import Range, iso
from ohlcv.model.source_checkpoint import SourceCheckpoint
from ohlcv.readers.latest import built_until
from support.candidates import stage
from support.candle_rows import MINUTE, at, candle, write_candles
from support.default_tables import candles_contract

NOON = at("2026-03-01T12:00")
RUN, LATER_RUN = "the run", "a later run"
SPAN = Range(NOON, NOON + timedelta(minutes=5))
LATER = Range(SPAN.end, SPAN.end + timedelta(minutes=5))


def candles(settings: Settings) -> Table:
    return load_table(open_catalog(settings), candles_contract(MINUTE))


def summary_of(run_id: str, span: Range, trades_snapshot: int) -> dict[str, str]:
    return {
        summary_keys.RUN_ID: run_id,
        summary_keys.RANGE_START: iso(span.start),
        summary_keys.RANGE_END: iso(span.end),
        summary_keys.TRADES_SNAPSHOT: str(trades_snapshot),
        summary_keys.CHECKPOINT: SourceCheckpoint(trades_snapshot).to_text(),
    }


def publish(settings: Settings, summary: dict[str, str]) -> int:
    """Make a commit without rows and return its snapshot."""
    table = candles(settings)
    table.append(table.schema().as_arrow().empty_table(), snapshot_properties=summary)
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return snapshot.snapshot_id


def published(table: Table) -> list[int]:
    return [snapshot.snapshot_id for snapshot in main_snapshots(table)]


def test_a_table_without_snapshots_has_none_published(settings: Settings) -> None:
    assert published(candles(settings)) == []
    assert built_until(candles(settings), MINUTE) is None


@pytest.mark.parametrize("rerun", [False, True], ids=["of a later run", "of the same run"])
def test_a_staged_snapshot_is_not_published(settings: Settings, *, rerun: bool) -> None:
    first = publish(settings, {})
    second = publish(settings, summary_of(RUN, SPAN, 7))
    run_id, span = (RUN, SPAN) if rerun else (LATER_RUN, LATER)
    staged = stage(candles(settings), {**summary_of(run_id, span, 8), summary_keys.RANGE_END: iso(LATER.end)})
    table = candles(settings)
    assert [snapshot.snapshot_id for snapshot in table.snapshots()] == [first, second, staged]
    assert published(table) == [second, first]
    assert run_commit(table, run_id, span).get(summary_keys.TRADES_SNAPSHOT) == ("7" if rerun else None)
    assert newest_commit(table)[summary_keys.TRADES_SNAPSHOT] == "7"
    assert read_checkpoint(table) == SourceCheckpoint(7)
    assert built_until(table, MINUTE) == SPAN.end


def test_the_first_candidate_of_an_empty_table_is_not_published(settings: Settings) -> None:
    stage(candles(settings), summary_of(RUN, SPAN, 7))
    table = candles(settings)
    assert (len(table.snapshots()), published(table)) == (1, [])
    assert (run_commit(table, RUN, SPAN), newest_commit(table)) == ({}, {})
    assert read_checkpoint(table) == SourceCheckpoint()
    assert built_until(table, MINUTE) is None


def test_a_checkpoint_without_a_commit_stays_valid_below_a_staged_snapshot(settings: Settings) -> None:
    """A run that changes no candle records its checkpoint on top of the newest published one."""
    base = publish(settings, summary_of(RUN, SPAN, 7))
    stage(candles(settings), summary_of(LATER_RUN, LATER, 8))
    recorded = SourceCheckpoint(9)
    with candles(settings).transaction() as transaction:
        transaction.set_properties(
            {
                summary_keys.CHECKPOINT_PROPERTY: recorded.to_text(),
                summary_keys.CHECKPOINT_BASE_PROPERTY: str(base),
            }
        )
    assert read_checkpoint(candles(settings)) == recorded


def test_a_rolled_back_snapshot_is_not_published(settings: Settings) -> None:
    first = publish(settings, summary_of(RUN, SPAN, 7))
    publish(settings, summary_of(LATER_RUN, LATER, 8))
    candles(settings).manage_snapshots().rollback_to_snapshot(first).commit()
    table = candles(settings)
    assert published(table) == [first]
    assert run_commit(table, LATER_RUN, LATER) == {}
    assert (read_checkpoint(table), built_until(table, MINUTE)) == (SourceCheckpoint(7), SPAN.end)


def test_expired_snapshots_do_not_shorten_what_was_built(settings: Settings) -> None:
    expired = [publish(settings, summary_of(RUN, SPAN, 6)), publish(settings, summary_of(RUN, SPAN, 7))]
    # The commits of backfills end earlier.
    kept = [publish(settings, summary_of(LATER_RUN, LATER, 8)), publish(settings, summary_of("backfill", SPAN, 8))]
    candles(settings).maintenance.expire_snapshots().by_ids(expired).commit()
    table = candles(settings)
    assert published(table) == kept[::-1]
    assert built_until(table, MINUTE) == LATER.end


def test_a_table_whose_runs_have_expired_is_built_to_its_newest_candle(settings: Settings) -> None:
    """Maintenance and other writers may have made all commits that remain."""
    run = publish(settings, summary_of(RUN, SPAN, 7))
    write_candles(settings, MINUTE, candle(MINUTE, NOON), candle(MINUTE, NOON + timedelta(minutes=2)))
    publish(settings, {summary_keys.MAINTENANCE: "compact"})
    assert built_until(candles(settings), MINUTE) == SPAN.end
    candles(settings).maintenance.expire_snapshots().by_id(run).commit()
    assert len(published(candles(settings))) == 2
    assert built_until(candles(settings), MINUTE) == NOON + timedelta(minutes=3)


def test_a_table_of_another_program_has_not_been_built(settings: Settings) -> None:
    write_candles(settings, MINUTE, candle(MINUTE, NOON))
    write_candles(settings, MINUTE, candle(MINUTE, NOON + timedelta(minutes=1)))
    assert built_until(candles(settings), MINUTE) is None


def test_a_catalog_that_returns_one_snapshot_is_built_to_its_newest_candle(settings: Settings) -> None:
    write_candles(settings, MINUTE, candle(MINUTE, NOON))
    stage(candles(settings), summary_of(LATER_RUN, LATER, 8))
    assert built_until(candles(settings), MINUTE) == NOON + timedelta(minutes=1)
