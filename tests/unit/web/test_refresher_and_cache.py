"""The index while the catalog fails, and the cache of decoded files: loaded once, bounded, exact with delete files."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from queue import SimpleQueue
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import FileScanTask
from pyiceberg.typedef import Record
from requests import ConnectionError as RequestsConnectionError

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import load_table, open_catalog, widen_volume
from ohlcv.model.errors import MissingTableError, OhlcvError
from ohlcv.web import file_cache, file_decoder, file_groups, index_refresher
from ohlcv.web.candle_query import CandleQuery
from ohlcv.web.data import CandleData
from ohlcv.web.file_cache import FileCache
from ohlcv.web.file_decoder import WHOLE, Part
from ohlcv.web.table_index import IndexedFile, TableIndex
from support.candle_rows import MINUTE, at, candle, write_candles
from support.default_tables import candles_contract

NOON = at("2026-03-01T12:00")


def index_of(data: CandleData) -> TableIndex:
    data.refresh()
    found = data.index("1m")
    assert found is not None
    return found


def closes(data: CandleData) -> list[Any]:
    return list(data.candles("1m", CandleQuery()).table["close_price"].to_pylist())


def test_an_unchanged_table_is_not_planned_again(
    settings: Settings, data: CandleData, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = index_of(data)
    assert (index.snapshot_id, index.committed_at, index.files) == (None, None, ())
    monkeypatch.setattr(index_refresher, "build_index", lambda *_: pytest.fail("planned"))
    assert index_of(data) is index
    # Only the properties change.
    with load_table(open_catalog(settings), candles_contract(MINUTE)).transaction() as transaction:
        transaction.set_properties({"a": "b"})
    assert index_of(data).identity == index.identity


def test_the_identity_changes_with_snapshot_and_schema(settings: Settings, data: CandleData) -> None:
    identities = [index_of(data).identity]
    write_candles(settings, MINUTE, candle(MINUTE, NOON))
    identities.append(index_of(data).identity)
    widen_volume(settings, candles_contract(MINUTE))
    identities.append(index_of(data).identity)
    assert len(set(identities)) == 3


def test_a_catalog_that_fails_leaves_the_last_index_which_is_stale(
    settings: Settings, data: CandleData, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_candles(settings, MINUTE, candle(MINUTE, NOON, "3"))
    data.refresh()
    assert data.stale_seconds("1m") is None

    def fail(*_: Any) -> None:
        raise RequestsConnectionError("no route")

    with monkeypatch.context() as patch:
        patch.setattr(index_refresher, "metadata_locations", fail)
        data.refresh()
        assert (data.stale_seconds("1m") or 0) > 0
        assert closes(data) == [3]
        # A service that has just started has no index to return.
        started = CandleData(settings)
        started.refresh()
        with pytest.raises(OhlcvError, match=r"does not answer \(no route\)"):
            started.index("1m")
    data.refresh()
    assert data.stale_seconds("1m") is None


def test_a_damaged_table_does_not_affect_the_others(settings: Settings, data: CandleData) -> None:
    data.refresh()
    write_candles(settings, MINUTE, candle(MINUTE, NOON))
    snapshot = load_table(open_catalog(settings), candles_contract(MINUTE)).current_snapshot()
    assert snapshot is not None
    with open(snapshot.manifest_list.removeprefix("file://"), "wb"):
        pass
    data.refresh()
    assert data.stale_seconds("1m") is not None
    assert data.stale_seconds("1h") is None


def test_a_missing_table_has_no_index(tmp_path: Any) -> None:
    data = CandleData(load_settings({"OHLCV_HOME": str(tmp_path / "empty")}))
    data.refresh()
    assert data.index("1m") is None
    assert data.series("1m") == []
    with pytest.raises(MissingTableError, match="ohlcv tables create"):
        data.candles("1m", CandleQuery())


def test_the_thread_refreshes(settings: Settings) -> None:
    data = CandleData(settings, interval=0.01)
    data.start()
    try:
        # Waits for the first refresh.
        assert closes(data) == []
        write_candles(settings, MINUTE, candle(MINUTE, NOON, "3"))
        while not closes(data):
            pass
        assert closes(data) == [3]
    finally:
        data.close()


@pytest.mark.parametrize("whole_rows", [100, 1], ids=["small file", "large file"])
def test_a_file_is_decoded_once_for_many_threads(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, whole_rows: int
) -> None:
    rows = [candle(MINUTE, NOON + number * MINUTE.length, str(number + 1)) for number in range(20)]
    write_candles(settings, MINUTE, *rows)
    data = CandleData(settings, cache=FileCache(whole_rows=whole_rows))
    data.refresh()
    decoded = []
    ready = threading.Barrier(20)
    original = file_decoder.decode_parts

    def decode(*arguments: Any) -> list[pa.Table]:
        decoded.append(arguments[-1])
        return original(*arguments)

    def read(_: int) -> int:
        ready.wait()
        return len(data.candles("1m", CandleQuery("BTC", "X")).table)

    monkeypatch.setattr(file_cache, "decode_parts", decode)
    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(read, range(20))) == [20] * 20
    assert decoded == [[WHOLE if whole_rows == 100 else Part("BTC", "X")]]


def test_the_cache_is_bounded_and_evicts_the_least_recently_used(settings: Settings) -> None:
    write_candles(settings, MINUTE, *(candle(MINUTE, NOON + timedelta(days=day), str(day + 1)) for day in range(9)))
    cache = FileCache(max_bytes=40_000)
    data = CandleData(settings, cache=cache)
    index = index_of(data)
    for _ in range(3):
        assert closes(data) == list(range(1, 10))
        assert 20_000 < cache.bytes <= 40_000
    kept = cache.rows(index, index.files[0], WHOLE)
    assert cache.rows(index, index.files[0], WHOLE) is kept


def test_whole_files_are_evicted_before_the_parts_of_a_series(settings: Settings) -> None:
    rows = [candle(MINUTE, NOON + timedelta(days=day), symbol=f"S{number}") for day in range(9) for number in range(60)]
    write_candles(settings, MINUTE, *rows)
    # Enough for nine parts and one whole file.
    cache = FileCache(max_bytes=140_000)
    index = index_of(CandleData(settings, cache=cache))
    first, second = ([cache.rows(index, file, Part("S1", "X")) for file in index.files] for _ in range(2))
    assert [rows is again for rows, again in zip(first, second, strict=True)] == [True] * 9


def test_a_failed_load_is_not_kept(settings: Settings, data: CandleData) -> None:
    write_candles(settings, MINUTE, candle(MINUTE, NOON, "3"))
    file = index_of(data).files[0].key[0].removeprefix("file://")
    with open(file, "rb") as stream:
        content = stream.read()
    with open(file, "wb") as stream:
        stream.write(content[:100])
    with pytest.raises(OhlcvError, match=r"has 100 bytes instead of"):
        closes(data)
    with open(file, "wb") as stream:
        stream.write(content)
    assert closes(data) == [3]


def with_deletes(settings: Settings, file: IndexedFile, positions: list[int]) -> IndexedFile:
    """Return a file with a position delete file, as other writers create them."""
    path = settings.home / "deletes.parquet"
    pq.write_table(pa.table({"file_path": [file.key[0]] * len(positions), "pos": positions}), path)
    deletes = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=path.as_uri(),
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=len(positions),
        file_size_in_bytes=path.stat().st_size,
    )
    task = FileScanTask(file.task.file, {deletes})
    return replace(file, key=(*file.key, deletes.file_path), task=task)


@pytest.mark.parametrize("whole_rows", [100, 1], ids=["small file", "large file"])
def test_rows_of_delete_files_are_left_out(settings: Settings, data: CandleData, whole_rows: int) -> None:
    rows = [candle(MINUTE, NOON + number * MINUTE.length, str(number + 1)) for number in range(5)]
    write_candles(settings, MINUTE, *rows)
    index = index_of(data)
    file = with_deletes(settings, index.files[0], [1, 4])
    found = FileCache(whole_rows=whole_rows).rows(index, file, Part("BTC", "X")).table
    assert found["close_price"].to_pylist() == [1, 3, 4]


def test_each_answer_during_refreshes_is_that_of_one_snapshot(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_groups, "_SLICE_ROWS", 2)
    data = CandleData(settings, cache=FileCache(whole_rows=4))
    data.refresh()
    # Close prices by snapshot.
    contents: dict[int | None, list[int]] = {None: []}
    # Number of the reader, snapshot and close prices of a page, close prices of the batches.
    answers: SimpleQueue[tuple[int, int | None, list[int], list[int]]] = SimpleQueue()
    is_complete = threading.Event()

    def read(number: int) -> None:
        query = CandleQuery("BTC", "X") if number % 2 else CandleQuery()
        while not is_complete.is_set():
            page = data.candles("1m", query)
            batches = pa.Table.from_batches(data.batches("1m", query), page.table.schema)
            found, streamed = (table["close_price"].to_pylist() for table in (page.table, batches))
            answers.put((number, page.index.snapshot_id, found, streamed))

    readers = 4
    with ThreadPoolExecutor(readers) as pool:
        futures = [pool.submit(read, number) for number in range(readers)]
        try:
            for change in range(4):
                # Windows between those of the other files, and of another day.
                new = [*range(change + 1, 60, 10), 1440 * (change + 1)]
                write_candles(
                    settings, MINUTE, *(candle(MINUTE, NOON + close * MINUTE.length, str(close)) for close in new)
                )
                snapshot = load_table(open_catalog(settings), candles_contract(MINUTE)).current_snapshot()
                assert snapshot is not None
                contents[snapshot.snapshot_id] = sorted([*list(contents.values())[-1], *new])
                data.refresh()
                missing = set(range(readers))
                while missing:
                    number, snapshot_id, found, streamed = answers.get(timeout=120)
                    assert found == contents[snapshot_id]
                    assert streamed in contents.values()
                    if snapshot_id == snapshot.snapshot_id:
                        missing.discard(number)
        finally:
            is_complete.set()
    assert [future.result() for future in futures] == [None] * readers
