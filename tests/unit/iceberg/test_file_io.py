"""Files that are written without Spark: on the disk before the commit that names them, with checksums of pages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.file_io import CheckingFileIO
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.ingest.loader import load_trades
from support.default_tables import TRADES
from support.trade_files import NOON, write_generic


def test_every_file_of_a_load_and_its_folder_are_synced_before_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings({"OHLCV_HOME": str(tmp_path)})
    create_tables(settings)
    synced, sync = set[str](), os.fsync

    def record(descriptor: int) -> None:
        sync(descriptor)
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "fsync", record)
    at_commit: list[set[str]] = []

    def note(_: object) -> None:
        at_commit.append(set(synced))

    event.listen(Engine, "commit", note)
    try:
        load_trades(settings, [write_generic(tmp_path, f"x,BTC-USD,{NOON},1,1,0")])
    finally:
        event.remove(Engine, "commit", note)
    table = load_table(open_catalog(settings), TRADES)
    snapshot = table.current_snapshot()
    assert snapshot is not None
    (manifest,) = snapshot.manifests(table.io)
    (entry,) = manifest.fetch_manifest_entry(table.io)
    locations = (table.metadata_location, snapshot.manifest_list, manifest.manifest_path, entry.data_file.file_path)
    files = [Path(location.removeprefix("file://")) for location in locations]
    data = files[-1]
    # The folders of the hour and of the day are new.
    expected = {str(path) for file in files for path in (file, file.parent)} | {str(path) for path in data.parents[:3]}
    assert expected <= at_commit[-1]


def test_an_existing_file_is_not_replaced(tmp_path: Path) -> None:
    file = CheckingFileIO().new_output((tmp_path / "new" / "a").as_uri())
    with file.create() as stream:
        stream.write(b"x")
    with pytest.raises(FileExistsError):
        file.create()
    with file.create(overwrite=True) as stream:
        stream.write(b"yz")
    assert (tmp_path / "new" / "a").read_bytes() == b"yz"
