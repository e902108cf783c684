"""The ledger of candles that the jobs built: every change is recorded, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from ohlcv.iceberg.ledger_tables import read_publications
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.ledger.recording import record
from ohlcv.ledger.reports import LedgerReport
from ohlcv.model.intervals import MICROSECOND
from support.candle_rows import MINUTE
from support.harness import Harness, at, trade
from support.maintenance import append_small_files, run_maintenance

NOON = at("2026-03-31 12:00")
MINUTES = timedelta(minutes=1)
CANDLES = "iceberg.market_data.gold_ohlcv_1m"

Row = dict[str, Any]


def scheduled(harness: Harness, minutes: int) -> None:
    """Build like a scheduled run that ends some minutes after noon."""
    end = NOON + minutes * MINUTES
    run_id = f"scheduled__{end:%H:%M}"
    harness.build("1m", end - MINUTE.lookback, end, rebuild_pending=True, dag_id="ohlcv_1m", run_id=run_id)


def record_now(harness: Harness) -> LedgerReport:
    return record(harness.settings, MINUTE)


def revisions(harness: Harness) -> dict[int, list[tuple[str, int, Decimal | None, tuple[str, ...]]]]:
    """Return change, minute, old close price and causes of each revision, by publication."""
    table = load_table(open_catalog(harness.settings), harness.settings.revisions_contract)
    found = defaultdict(list)
    for row in sorted(table.scan().to_arrow().to_pylist(), key=lambda row: (row["window_start"], row["symbol"])):
        minute = (row["window_start"] - NOON) // MINUTES
        found[row["publication"]].append((row["change"], minute, row["close_price"], tuple(row["causes"])))
    return dict(found)


def undo(harness: Harness, state: list[Row], publication: int) -> list[Row]:
    """Return the candles before a publication, given those after it."""
    table = load_table(open_catalog(harness.settings), harness.settings.revisions_contract)
    names = harness.settings.candles_contract(MINUTE).column_names
    written_at = read_publications(harness.settings, open_catalog(harness.settings), MINUTE)[publication - 1].written_at
    rows = table.scan(f"publication == {publication}").to_arrow().to_pylist()
    changed = {_key(row) for row in rows}
    kept = [row for row in state if _key(row) not in changed and row["created_at"] != written_at]
    return kept + [{name: row[name] for name in names} for row in rows if row["window_end"] is not None]


def _key(row: Row) -> tuple[str, str, datetime]:
    return row["symbol"], row["exchange"], row["window_start"]


def rows_of(harness: Harness, snapshot: int | None) -> list[Row]:
    if snapshot is None:
        return []
    names = tuple(harness.settings.candles_contract(MINUTE).column_names)
    found: list[Row] = harness.table("1m").scan(snapshot_id=snapshot, selected_fields=names).to_arrow().to_pylist()
    return found


def test_every_publication_is_recorded_with_what_it_changed(harness: Harness) -> None:
    record_now(harness)
    harness.load([trade(NOON + n * MINUTES, f"{100 + n}", trade_id=f"{n}") for n in range(10)])
    scheduled(harness, 10)
    built = harness.snapshots("1m")[-1]
    assert record_now(harness).revisions == {}

    # A late trade, a correction, a removed trade.
    harness.load(
        [
            trade(NOON + 2 * MINUTES + 30 * MINUTES / 60, "500", trade_id="late", ingested=NOON + 5 * MINUTES),
            trade(NOON + 3 * MINUTES, "300", trade_id="3", ingested=NOON + 9 * MINUTES),
        ]
    )
    # Spark keeps the state of a table that it has read for half a minute.
    harness.sql("REFRESH TABLE {trades}")
    harness.sql("DELETE FROM {trades} WHERE trade_id = '4'")
    scheduled(harness, 11)
    corrected = harness.snapshots("1m")[-1]
    harness.sql(f"CALL iceberg.system.rollback_to_snapshot('market_data.gold_ohlcv_1m', {built})")
    harness.sql(f"CALL iceberg.system.set_current_snapshot('market_data.gold_ohlcv_1m', {corrected})")
    append_small_files(harness, NOON - timedelta(days=1))
    run_maintenance(harness, "1m", "compact", as_of=NOON.date() + timedelta(days=2))
    # Row-level deletes of another writer.
    harness.sql(f"REFRESH TABLE {CANDLES}")
    harness.sql(f"ALTER TABLE {CANDLES} SET TBLPROPERTIES ('write.delete.mode' = 'merge-on-read')")
    harness.sql(f"DELETE FROM {CANDLES} WHERE window_start = TIMESTAMP '2026-03-31 12:07:00'")
    scheduled(harness, 12)
    report = record_now(harness)

    publications = read_publications(harness.settings, open_catalog(harness.settings), MINUTE)
    others = ["other writer"] * 3
    assert [each.trigger for each in publications] == [
        *("first", "scheduled", "scheduled", "rollback", "rollback"),
        *others,
        *("maintenance", "other writer", "scheduled"),
    ]
    assert report.publications == len(publications) - 2
    late, third, fourth = Decimal(102), Decimal(103), Decimal(104)
    assert revisions(harness) == {
        3: [
            ("updated", 2, late, ("trade added",)),
            ("updated", 3, third, ("trade corrected",)),
            ("deleted", 4, fourth, ("trade removed",)),
        ],
        4: [("updated", 2, Decimal(500), ()), ("updated", 3, Decimal(300), ()), ("inserted", 4, None, ())],
        5: [("updated", 2, late, ()), ("updated", 3, third, ()), ("deleted", 4, fourth, ())],
        **{6 + n: [("inserted", n - 24 * 60, None, ("unknown",))] for n in range(3)},
        10: [("deleted", 7, Decimal(107), ("unknown",))],
    }
    (lateness,) = {
        row["lateness"]
        for row in load_table(open_catalog(harness.settings), harness.settings.revisions_contract)
        .scan("lateness is not null")
        .to_arrow()
        .to_pylist()
    }
    assert lateness == 2 * MINUTES // MICROSECOND

    # Undoing from the newest state restores what readers saw after each publication.
    state = rows_of(harness, publications[-1].snapshot)
    for publication in reversed(publications[1:]):
        state = undo(harness, state, publication.number)
        expected = rows_of(harness, publications[publication.number - 2].snapshot)
        assert sorted(state, key=_key) == sorted(expected, key=_key), publication.number
    assert all(each.visible_at <= datetime.now(UTC) for each in publications)
