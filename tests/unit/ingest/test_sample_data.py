"""The sample trades have the documented properties, and equal arguments give equal trades."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.ingest.formats import TRADE_SCHEMA
from ohlcv.ingest.sample_data import ROW_FAULTS, STANDARD_TRADES, load_sample, sample_trades
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import to_microseconds
from support.default_tables import TRADES

END = datetime(2026, 3, 1, 6, tzinfo=UTC)
HOUR = 3_600_000_000
SERIES = ["exchange", "symbol"]


def by_series(table: pa.Table) -> dict[tuple[str, str], pa.Table]:
    keys = table.select(SERIES).group_by(SERIES).aggregate([]).to_pylist()
    return {
        (key["exchange"], key["symbol"]): table.filter(
            (pc.field("exchange") == key["exchange"]) & (pc.field("symbol") == key["symbol"])
        )
        for key in keys
    }


def test_the_standard_sample_is_fast_and_complete() -> None:
    before = time.process_time()
    table = sample_trades()
    assert time.process_time() - before < 3
    table.validate(full=True)
    assert table.schema == TRADE_SCHEMA
    assert len(table) == STANDARD_TRADES
    assert len(by_series(table)) == 8
    assert pc.count_distinct(table["message_id"]).as_py() == STANDARD_TRADES
    for name in ("price", "quantity"):
        assert pc.min(table[name]).as_py() > 0


def test_equal_arguments_give_equal_trades_and_others_give_new_ids() -> None:
    def make(**changes: Any) -> pa.Table:
        options: dict[str, Any] = {"trades": 2000, "hours": 3, "end": END, "duplicates": 10, "bad_rows": 8}
        return sample_trades(**(options | changes))

    assert make().equals(make())
    ids = set(make()["message_id"].to_pylist())
    for change in ({"seed": 8}, {"end": datetime(2026, 3, 1, 7, tzinfo=UTC)}, {"duplicates": 11}):
        assert not make(**change).equals(make())
        assert not ids & set(make(**change)["message_id"].to_pylist())


def test_timestamps_are_within_the_range_and_their_partition() -> None:
    table = sample_trades(20_000, 5, END)
    times = table["timestamp"].to_numpy()
    assert times.min() >= to_microseconds(END) - 5 * HOUR
    assert times.max() < to_microseconds(END)
    days = table["exchange_date"].cast(pa.int32()).to_numpy()
    assert (days * 24 + table["exchange_hour"].to_numpy() == times // HOUR).all()
    assert len(np.unique(times // HOUR)) == 5
    assert (times % 60_000_000 == 0).any()


def test_two_of_five_trades_share_their_timestamp() -> None:
    for ties, share in ((True, 0.4), (False, 0.0)):
        for table in by_series(sample_trades(20_000, 5, END, ties=ties)).values():
            _, counts = np.unique(table["timestamp"].to_numpy(), return_counts=True)
            assert counts[counts > 1].sum() / len(table) == pytest.approx(share, abs=0.005)


def test_ids_grow_with_time_and_one_exchange_has_sequence_numbers() -> None:
    for (exchange, _), table in by_series(sample_trades(20_000, 5, END)).items():
        ids = table["trade_id"].cast(pa.int64())
        order = pc.sort_indices(ids)
        assert ids.take(order).to_pylist() == list(range(1, len(table) + 1))
        assert (np.diff(table["timestamp"].take(order).to_numpy()) >= 0).all()
        assert table["source_sequence"].null_count == (len(table) if exchange == "binance" else 0)
        if exchange == "coinbase":
            assert (np.diff(table["source_sequence"].take(order).to_numpy()) > 0).all()


def test_rows_are_out_of_order_by_default() -> None:
    assert (np.diff(sample_trades(5000, 1, END)["timestamp"].to_numpy()) < 0).mean() > 0.2
    assert (np.diff(sample_trades(5000, 1, END, out_of_order=False)["timestamp"].to_numpy()) >= 0).all()


def test_late_trades_are_ingested_hours_after_their_timestamp() -> None:
    for share in (0.0, 0.1):
        table = sample_trades(10_000, 1, END, late=share)
        delay = table["ingestion_timestamp"].to_numpy() - table["timestamp"].to_numpy()
        assert (delay > 0).all()
        assert (delay > HOUR).mean() == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("duplicates", [0.02, 100])
def test_duplicates_are_ingested_later_and_one_in_four_is_a_correction(duplicates: float) -> None:
    table = sample_trades(5000, 2, END, duplicates=duplicates)
    assert len(table) == 5100
    assert pc.count_distinct(table["message_id"]).as_py() == 5100
    versions: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in sorted(table.to_pylist(), key=lambda row: row["message_id"]):
        versions.setdefault((row["exchange"], row["symbol"], row["trade_id"]), []).append(row)
    pairs = [(rows[0], repeat) for rows in versions.values() for repeat in rows[1:]]
    assert len(pairs) == 100
    assert all(first["ingestion_timestamp"] < repeat["ingestion_timestamp"] for first, repeat in pairs)
    assert all(first["timestamp"] == repeat["timestamp"] for first, repeat in pairs)
    assert sum(first["price"] != repeat["price"] for first, repeat in pairs) == 25


def test_invalid_rows_have_each_fault_in_turn() -> None:
    count = 2 * len(ROW_FAULTS)
    rows = sample_trades(5000, 2, END, bad_rows=count).to_pylist()

    def count_of(fault: Any) -> int:
        return sum(bool(fault(row)) for row in rows)

    def hour(row: dict[str, Any]) -> int:
        return int(row["timestamp"] // HOUR % 24)

    assert len(rows) == 5000 + count
    assert count_of(lambda row: row["symbol"] is None) == 2
    for name in ("price", "quantity"):
        assert count_of(lambda row, name=name: row[name] is None) == 2
        assert count_of(lambda row, name=name: row[name] == 0) == 2
        assert count_of(lambda row, name=name: row[name] is not None and row[name] < 0) == 2
    assert count_of(lambda row: row["exchange_hour"] != hour(row)) == 2


def test_invalid_arguments_are_an_input_error() -> None:
    wrong: list[dict[str, Any]] = [
        {"trades": 7},
        {"hours": 0},
        {"duplicates": -1},
        {"bad_rows": -1},
        {"late": 2},
        {"end": datetime(1969, 7, 20, tzinfo=UTC)},
        {"end": datetime(2009, 1, 1, 1, tzinfo=UTC), "hours": 2},
        {"end": datetime(2100, 1, 1, 1, tzinfo=UTC)},
        {"end": datetime(9999, 12, 31, tzinfo=UTC), "hours": 10**9},
    ]
    for arguments in wrong:
        with pytest.raises(InputError):
            sample_trades(**{"trades": 100, "end": END, **arguments})


def test_loading_a_sample_twice_adds_nothing(settings: Settings) -> None:
    options: dict[str, Any] = {"trades": 3000, "hours": 3, "end": END, "duplicates": 30, "bad_rows": 16}
    first = load_sample(settings, **options)
    again = load_sample(settings, **options)
    assert (first.loaded, again.loaded, again.already_there, again.snapshot_id) == (3046, 0, 3046, None)
    table = load_table(open_catalog(settings), TRADES)
    assert len(table.metadata.metadata_log) == 1
    found = table.scan().to_arrow().cast(TRADE_SCHEMA).sort_by("message_id")
    assert found.equals(sample_trades(**options).sort_by("message_id"))
