"""Causes and lateness of revisions, held series and waivers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.table import Table

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.file_commits import commit_files
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.ledger import causes
from ohlcv.model.audit_records import DECISIONS_PROPERTY, Decisions, Waiver
from ohlcv.model.errors import DamagedFileError
from ohlcv.model.intervals import MICROSECOND, to_microseconds
from ohlcv.model.source_checkpoint import SourceCheckpoint
from ohlcv.model.source_hours import hour_number
from ohlcv.model.summary_keys import CHECKPOINT_BASE_PROPERTY, CHECKPOINT_PROPERTY
from support.audit_records import held_series
from support.audited_tables import add_trades, built, trade
from support.candle_rows import DAY, MINUTE, Row, at
from support.default_tables import TRADES
from support.ledger_site import LedgerSite

NOON = "2026-03-01T12:00"
CANDLE = built(MINUTE, NOON)


def priced(price: str, start: str = NOON) -> Row:
    return built(MINUTE, start, price)


def identified(time: str, trade_id: str = "7", *, delivery: int = 0, **values: object) -> Row:
    """Return a trade with an id; a higher delivery replaces earlier ones."""
    row = trade(time) | {"trade_id": trade_id, "message_id": f"{trade_id}-{delivery}"}
    return row | {"ingestion_timestamp": row["ingestion_timestamp"] + delivery * 1_000_000} | values


@pytest.fixture
def site(settings: Settings) -> LedgerSite:
    return LedgerSite(settings)


def found(site: LedgerSite) -> list[tuple[list[str], int | None]]:
    """Record, and return causes and lateness of each revision."""
    site.record()
    return [(row["causes"], row["lateness"]) for row in site.revisions()]


def rebuild(site: LedgerSite, *trades: Sequence[Row]) -> None:
    """Build the candle of noon, then once more after each batch of trades, each time with another price."""
    site.build(CANDLE)
    site.record()
    for price, batch in enumerate(trades, 2):
        site.build(priced(str(price)), trades=add_trades(site.settings, *batch))


def minute(number: int, second: int = 1) -> str:
    return f"2026-03-01T12:{number:02}:{second:02}"


def again(number: int, **values: object) -> Row:
    """Return a newer version of the trade of a minute."""
    return identified(minute(number), str(number), delivery=1, **values)


LATE = to_microseconds(at("2026-03-01T12:03:30"))
# By minute: its trades of the second snapshot, then causes and lateness in seconds. In the first one, each minute has
# a trade with its number as id.
CASES: dict[int, tuple[list[Row], list[str], int | None]] = {
    0: (
        [identified(minute(0, 2), "x"), identified(minute(0, 3), "y", ingestion_timestamp=LATE)],
        ["trade added"],
        150,
    ),
    1: ([again(1, price=Decimal(5))], ["trade corrected"], None),
    2: ([again(2, quantity=Decimal(5))], ["trade corrected"], None),
    3: ([again(3, source_sequence=4)], ["trade corrected"], None),
    4: ([again(4, timestamp=to_microseconds(at(minute(4, 59))))], ["trade corrected"], None),
    # The same values, an older version, an invalid trade, a trade of another series.
    5: ([again(5)], [], None),
    6: ([identified(minute(6), "6", delivery=-1, price=Decimal(5))], [], None),
    7: ([identified(minute(7, 2), "z7", price=Decimal(0))], [], None),
    8: ([identified(minute(8, 2), "z", exchange="Y")], [], None),
    # Moved from one window to the other.
    9: ([again(9, timestamp=to_microseconds(at(minute(10, 30))))], ["trade moved"], None),
    10: ([], ["trade moved"], None),
    11: ([again(11, price=Decimal(5)), identified(minute(11, 2), "z11")], ["trade added", "trade corrected"], -58),
    12: ([], [], None),
}


@pytest.mark.parametrize("max_symbols", [0, causes.MAX_SYMBOLS])
def test_causes_are_the_differences_of_the_trades(
    site: LedgerSite, monkeypatch: pytest.MonkeyPatch, max_symbols: int
) -> None:
    monkeypatch.setattr(causes, "MAX_SYMBOLS", max_symbols)
    site.build(*(priced("1", minute(number, 0)) for number in CASES))
    site.record()
    first = add_trades(site.settings, *(identified(minute(number), str(number)) for number in CASES))
    site.build(*(priced("2", minute(number, 0)) for number in CASES), trades=first)
    second = add_trades(site.settings, *(row for rows, _, _ in CASES.values() for row in rows))
    site.build(*(priced("3", minute(number, 0)) for number in CASES), trades=second)
    site.record()
    revisions = {row["window_start"].minute: row for row in site.revisions() if row["publication"] == 3}
    assert {number: (row["causes"], row["lateness"]) for number, row in revisions.items()} == {
        number: (expected, None if seconds is None else seconds * 1_000_000)
        for number, (_, expected, seconds) in CASES.items()
    }


def test_removed_trades_are_a_cause_of_changed_and_of_deleted_candles(site: LedgerSite) -> None:
    trades = [identified(minute(0, 1), "1"), identified(minute(0, 2), "2"), identified(minute(1), "3")]
    first = add_trades(site.settings, *trades)
    site.build(CANDLE, priced("1", minute(1, 0)), trades=first)
    site.record()
    table = load_table(site.catalog, TRADES)
    table.delete("trade_id != '1'")
    site.build(priced("2"), delete=[priced("1", minute(1, 0))], trades=snapshot_of(table))
    assert found(site) == [(["trade removed"], None)] * 2


def snapshot_of(table: Table) -> int:
    snapshot = table.refresh().current_snapshot()
    assert snapshot is not None
    return snapshot.snapshot_id


def test_causes_follow_the_snapshot_of_the_replaced_version(site: LedgerSite) -> None:
    other = "2026-03-01T12:05"
    site.build(CANDLE, priced("1", other))
    site.record()
    site.build(priced("2"), trades=add_trades(site.settings, identified(f"{NOON}:01", "1")))
    # Not built yet: the next publication changes another window only.
    second = add_trades(site.settings, identified(f"{NOON}:02", "2"), identified(f"{other}:01", "3"))
    site.build(priced("2", other), trades=second)
    site.build(priced("3"), trades=add_trades(site.settings, identified(f"{other}:02", "4")))
    assert found(site)[-1][0] == ["trade added"]


def test_the_first_known_snapshot_stands_for_older_versions(site: LedgerSite) -> None:
    site.build(CANDLE, priced("1", "2026-03-01T12:05"), trades=add_trades(site.settings, identified(f"{NOON}:01", "1")))
    site.record()
    second = add_trades(site.settings, identified(f"{NOON}:02", "2"))
    site.build(priced("2"), priced("2", "2026-03-01T12:05"), trades=second)
    # The trades of the second window may have changed before the ledger began.
    assert [each[0] for each in found(site)] == [["trade added"], ["unknown"]]


def test_the_cause_is_unknown_after_the_trades_snapshot_has_expired(site: LedgerSite) -> None:
    rebuild(site, [identified(f"{NOON}:01", "1")], [identified(f"{NOON}:02", "2")])
    table = load_table(site.catalog, TRADES)
    table.maintenance.expire_snapshots().by_id(table.snapshots()[0].snapshot_id).commit()
    assert found(site)[-1] == (["unknown"], None)


def test_the_cause_is_unknown_without_a_trades_snapshot(site: LedgerSite) -> None:
    site.build(CANDLE)
    site.record()
    site.build(priced("2"))
    assert found(site) == [(["unknown"], None)]


@pytest.mark.parametrize("column", ["symbol", "exchange"])
def test_a_candle_without_a_symbol_or_an_exchange_has_no_trades(site: LedgerSite, column: str) -> None:
    """Another writer may have stored such a candle."""
    site.build(CANDLE, trades=add_trades(site.settings, identified(minute(0), "1")))
    site.record()
    nameless = {**priced("1", minute(1, 0)), column: None}
    site.replace([*site.rows, nameless])
    site.record()
    second = add_trades(site.settings, identified(minute(0, 2), "2"))
    # Alone, and then together with a changed candle.
    site.build(delete=[nameless], trades=second)
    site.record()
    site.replace([*site.rows, nameless])
    third = add_trades(site.settings, identified(minute(0, 3), "3"))
    site.build(priced("2"), delete=[nameless], trades=third)
    site.record()
    (updated,) = (row for row in site.revisions() if row["change"] == "updated")
    assert updated["causes"] == ["trade added"]


def test_the_cause_is_unknown_after_a_repair_has_dropped_a_damaged_file(site: LedgerSite) -> None:
    other = "2026-03-01T13:00"
    site.build(CANDLE, priced("1", other))
    site.record()
    first = add_trades(site.settings, identified(f"{NOON}:01", "1"))
    site.build(priced("2"), priced("2", other), trades=first)
    site.record()
    table = load_table(site.catalog, TRADES)
    (task,) = table.scan().plan_files()
    Path(task.file.file_path.removeprefix("file://")).unlink()
    second = add_trades(site.settings, identified(f"{NOON}:02", "2"), identified(f"{other}:01", "3"))
    site.build(priced("3"), priced("3", other), trades=second)
    # Somebody may restore the file.
    with pytest.raises(DamagedFileError, match="Damaged files"):
        site.record()
    commit_files(site.catalog, TRADES, table.refresh(), [], [task.file], lambda: None)
    add_trades(site.settings, identified(f"{NOON}:01", "1"))
    # The other hour has no file that was dropped.
    assert [each[0] for each in found(site)[-2:]] == [["unknown"], ["trade added"]]


def test_hours_without_changed_files_are_not_read(site: LedgerSite, monkeypatch: pytest.MonkeyPatch) -> None:
    rebuild(site, [identified(f"{NOON}:01", "1")], [identified("2026-03-01T13:00:01", "2")])
    monkeypatch.setattr(causes, "ArrowScan", None)
    assert found(site)[-1] == ([], None)


def test_chunks_of_hours_do_not_change_causes(site: LedgerSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causes, "CHUNK_ROWS", 1)
    windows = [f"2026-03-01T{hour}:00" for hour in (10, 11, 12)]
    site.build(*(priced("1", start) for start in windows))
    site.record()
    first = add_trades(site.settings, *(identified(f"{start}:01", "1") for start in windows))
    site.build(*(priced("2", start) for start in windows), trades=first)
    second = add_trades(site.settings, *(identified(f"{start}:02", "2") for start in windows[:2]))
    site.build(*(priced("3", start) for start in windows), trades=second)
    assert [each[0] for each in found(site)[-3:]] == [["trade added"], ["trade added"], []]


def test_a_daily_candle_has_the_causes_of_all_its_hours(settings: Settings) -> None:
    site = LedgerSite(settings, DAY)
    site.build(built(DAY, "2026-03-01"))
    site.record()
    first = add_trades(settings, identified("2026-03-01T01:00:01", "1"))
    site.build(built(DAY, "2026-03-01", "2"), trades=first)
    second = add_trades(
        settings,
        identified("2026-03-01T01:00:01", "1", delivery=1, price=Decimal(5)),
        identified("2026-03-01T23:59:59", "2", ingestion_timestamp=to_microseconds(at("2026-03-02T01:00"))),
    )
    site.build(built(DAY, "2026-03-01", "3"), trades=second)
    assert found(site)[-1] == (["trade added", "trade corrected"], timedelta(hours=1) // MICROSECOND)


MAPPING = """
timestamp: {{column: time, unit: s}}
price: price
quantity: quantity
symbol: pair
exchange: {{value: X}}
ingestion_timestamp: {{column: loaded, unit: s}}
{identity}
"""
_COLUMNS = {"time": pa.int64(), "price": pa.float64(), "quantity": pa.float64(), "pair": pa.string()}


def mapped_site(folder: Path, identity: str) -> LedgerSite:
    """Return a site whose trades table has another shape."""
    home = folder / "home"
    create_tables(load_settings({"OHLCV_HOME": str(home)}))
    mapping = folder / "mapping.yaml"
    mapping.write_text(MAPPING.format(identity=identity))
    settings = load_settings(
        {
            "OHLCV_HOME": str(home),
            "OHLCV_TRADES_MAPPING": str(mapping),
            "OHLCV_TRADES_TABLE": "market_data.ticks",
        }
    )
    schema = pa.schema({**_COLUMNS, "loaded": pa.int64(), "id": pa.string()})
    open_catalog(settings).create_table("market_data.ticks", schema, location=f"{settings.warehouse}/market_data/ticks")
    return LedgerSite(settings)


def add_ticks(site: LedgerSite, *ticks: tuple[str, float, str]) -> int:
    """Append ticks (time, price, id) in one commit, and return the snapshot."""
    table = site.catalog.load_table("market_data.ticks")
    rows = [
        {
            "time": to_microseconds(at(time)) // 1_000_000,
            "price": price,
            "quantity": 1.0,
            "pair": "BTC",
            "loaded": to_microseconds(at(time)) // 1_000_000 + 3600 + number,
            "id": name,
        }
        for number, (time, price, name) in enumerate(ticks)
    ]
    table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return snapshot.snapshot_id


def test_trades_of_a_mapped_table_are_compared(tmp_path: Path) -> None:
    site = mapped_site(tmp_path, "trade_id: id")
    site.build(CANDLE)
    site.record()
    site.build(priced("2"), trades=add_ticks(site, (f"{NOON}:01", 1.0, "a")))
    ticks = ((f"{NOON}:05", 2.0, "a"), (f"{NOON}:06", 3.0, "b"), ("2026-03-01T13:00:01", 1.0, "c"))
    site.build(priced("3"), trades=add_ticks(site, *ticks))
    lateness = timedelta(hours=1, seconds=1 + 6 - 60) // MICROSECOND
    assert found(site)[-1] == (["trade added", "trade corrected"], lateness)


def test_where_every_row_is_a_trade_rows_are_added_and_removed(tmp_path: Path) -> None:
    site = mapped_site(tmp_path, "identity: every row")
    site.build(CANDLE)
    site.record()
    same = (f"{NOON}:01", 1.0, "a")
    site.build(priced("2"), trades=add_ticks(site, same))
    site.build(priced("3"), trades=add_ticks(site, same))
    table = site.catalog.load_table("market_data.ticks")
    table.delete(f"time == {to_microseconds(at(f'{NOON}:01')) // 1_000_000}")
    site.build(priced("4"), trades=snapshot_of(table))
    assert [each[0] for each in found(site)[1:]] == [["trade added"], ["trade removed"]]


HELD = replace(held_series(hour=hour_number(at(NOON)), exchange="X", symbol="BTC"), since="2026-03-01T12:30:00Z")


def hold(site: LedgerSite) -> None:
    """Publish candles of which a series is held, and release it."""
    site.build(CANDLE)
    site.record()
    other = built(MINUTE, NOON, symbol="ETH")
    site.build(other, checkpoint=SourceCheckpoint(held=frozenset({HELD})))
    site.build(
        priced("2"),
        priced("1", "2026-03-01T12:59"),
        priced("1", "2026-03-01T13:00"),
        built(MINUTE, NOON, "2", symbol="ETH"),
    )


def test_candles_that_were_held_carry_the_time(site: LedgerSite) -> None:
    hold(site)
    site.record()
    rows = [(row["symbol"], row["change"], row["window_start"].minute, row["held_since"]) for row in site.revisions()]
    since = at("2026-03-01T12:30")
    # The insertion is recorded, because the candle was held before.
    assert rows == [("BTC", "updated", 0, since), ("BTC", "inserted", 59, since), ("ETH", "updated", 0, None)]
    assert [row["waived"] for row in site.revisions()] == [False] * 3


def test_candles_that_were_waived_are_flagged(site: LedgerSite) -> None:
    hold(site)
    waiver = Waiver(*HELD.key, values="", findings=(), author="a", reason="r", at="2026-03-01T13:00:00Z")
    other = replace(waiver, symbol="ETH")
    with site.table().transaction() as transaction:
        transaction.set_properties({DECISIONS_PROPERTY: Decisions(waivers=(waiver, other)).to_text()})
    site.record()
    assert [row["waived"] for row in site.revisions()] == [True, True, False]


def test_a_series_that_stays_held_is_not_released(site: LedgerSite) -> None:
    site.build(CANDLE, checkpoint=SourceCheckpoint(held=frozenset({HELD})))
    site.record()
    site.build(priced("2"), checkpoint=SourceCheckpoint(held=frozenset({HELD})))
    site.record()
    assert [row["held_since"] for row in site.revisions()] == [None]


def test_a_run_without_changes_may_have_held_a_series(site: LedgerSite) -> None:
    snapshot = site.build(CANDLE)
    site.record()
    # Such a run stores its checkpoint as a property.
    with site.table().transaction() as transaction:
        checkpoint = SourceCheckpoint(held=frozenset({HELD})).to_text()
        transaction.set_properties({CHECKPOINT_PROPERTY: checkpoint, CHECKPOINT_BASE_PROPERTY: str(snapshot)})
    site.build(priced("2"))
    site.build(priced("3"))
    site.record()
    assert [row["held_since"] for row in site.revisions()] == [at("2026-03-01T12:30"), None]


def test_daily_candles_are_held_by_day(settings: Settings) -> None:
    site = LedgerSite(settings, DAY)
    held = replace(HELD, hour=hour_number(at("2026-03-01")))
    site.build(built(DAY, "2026-03-01"), checkpoint=SourceCheckpoint(held=frozenset({held})))
    site.record()
    site.build(built(DAY, "2026-03-01", "2"))
    site.record()
    assert [row["held_since"] for row in site.revisions()] == [at("2026-03-01T12:30")]
