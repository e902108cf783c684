"""Orphan files: what no snapshot needs is deleted, and nothing of another table or of a newer state."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ohlcv.config.maintained_tables import maintained_table
from ohlcv.iceberg.tables import open_catalog
from ohlcv.model.errors import OhlcvError
from spark_jobs.jobs.table_maintenance import ORPHAN_AGE, Request, maintain
from support.default_tables import NAMESPACE
from support.harness import Harness, at, trade
from support.maintenance import data_files, files_of, make_old, run_maintenance

NOON = at("2026-11-21 12:00")


def test_old_orphan_files_are_deleted(harness: Harness) -> None:
    harness.load([trade(NOON)])
    harness.build("1m", NOON, NOON + timedelta(minutes=5))
    folder = harness.settings.home / "warehouse" / NAMESPACE / "gold_ohlcv_1m" / "data"
    old, young = folder / "window_date=2026-11-20" / "old.parquet", folder / "young.parquet"
    old.parent.mkdir()
    long_ago = (datetime.now(UTC) - ORPHAN_AGE - timedelta(hours=1)).timestamp()
    for path in (old, young):
        path.write_bytes(b"left by a killed job")
    os.utime(old, (long_ago, long_ago))
    referenced = [Path(urlsplit(path).path) for path in data_files(harness.table("1m"))]
    for path in referenced:
        os.utime(path, (long_ago, long_ago))
    report = run_maintenance(harness, "1m", "expire", as_of=datetime.now(UTC).date())["expire"]
    assert isinstance(report, dict)
    assert report["orphans_deleted"] == 1
    assert (old.exists(), young.exists(), all(path.exists() for path in referenced)) == (False, True, True)
    assert len(harness.stored("1m")) == 1


def test_a_replaced_catalog_does_not_make_the_files_of_a_table_orphans(harness: Harness) -> None:
    harness.load([trade(NOON)])
    harness.build("1m", NOON, NOON + timedelta(minutes=5))
    folder = harness.settings.home / "warehouse" / NAMESPACE / "gold_ohlcv_1m"
    old_files = files_of(folder)
    # A new table in the folder of the old one, as other programs can create it.
    catalog = open_catalog(harness.settings)
    old = harness.table("1m")
    catalog.drop_table((NAMESPACE, "gold_ohlcv_1m"))
    catalog.create_table((NAMESPACE, "gold_ohlcv_1m"), old.schema(), partition_spec=old.spec())
    make_old(folder)
    # A session that does not know the old table.
    harness = Harness(harness.spark, harness.settings.home)
    with pytest.raises(OhlcvError, match=r"no orphan file .* was deleted: .*metadata.json belongs to another table"):
        run_maintenance(harness, "1m", "expire", as_of=datetime.now(UTC).date())
    assert old_files <= files_of(folder)


def test_a_restored_older_catalog_does_not_make_newer_files_orphans(harness: Harness) -> None:
    harness.load([trade(NOON)])
    harness.build("1m", NOON, NOON + timedelta(minutes=5))
    catalog = open_catalog(harness.settings)
    before = harness.table("1m").metadata_location
    harness.load([trade(NOON + timedelta(minutes=1), "7")])
    harness.build("1m", NOON, NOON + timedelta(minutes=5))
    folder = harness.settings.home / "warehouse" / NAMESPACE / "gold_ohlcv_1m"
    catalog.drop_table((NAMESPACE, "gold_ohlcv_1m"))
    catalog.register_table((NAMESPACE, "gold_ohlcv_1m"), before)
    newer = files_of(folder)
    make_old(folder)
    harness.sql("REFRESH TABLE iceberg.market_data.gold_ohlcv_1m")
    with pytest.raises(
        OhlcvError, match=r"is newer than the state in the catalog; .*'ohlcv tables register --replace'"
    ):
        run_maintenance(harness, "1m", "expire", as_of=datetime.now(UTC).date())
    assert newer <= files_of(folder)


def metadata_file(harness: Harness) -> Path:
    return Path(urlsplit(harness.table("1m").metadata_location).path)


def test_metadata_files_that_a_restoration_has_given_up_are_deleted_as_orphans(harness: Harness) -> None:
    harness.load([trade(NOON)])
    harness.build("1m", NOON, NOON + timedelta(minutes=5))
    harness.load([trade(NOON + timedelta(minutes=1), "7")])
    harness.build("1m", NOON, NOON + timedelta(minutes=5))
    folder = harness.settings.home / "warehouse" / NAMESPACE / "gold_ohlcv_1m"
    before = files_of(folder)
    newest = metadata_file(harness)
    metadata = json.loads(newest.read_text())
    later = json.dumps({**metadata, "last-updated-ms": metadata["last-updated-ms"] + 10**9})
    for number, content in enumerate(("", newest.read_text()[:100], later)):
        newest.with_name(f"damaged-{number}-{newest.name}").write_text(content)
    assert len(files_of(folder)) == len(before) + 3
    make_old(folder)
    report = run_maintenance(harness, "1m", "expire", as_of=datetime.now(UTC).date())["expire"]
    assert report["orphans_deleted"] == 3
    assert files_of(folder) <= before


@pytest.mark.parametrize("content", ["", "out of order"])
def test_an_orphan_metadata_file_that_cannot_be_read_is_named(harness: Harness, content: str) -> None:
    harness.load([trade(NOON)])
    harness.build("1m", NOON, NOON + timedelta(minutes=5))
    newest = metadata_file(harness)
    if content:
        metadata = json.loads(newest.read_text())
        entry = metadata["snapshot-log"][-1]
        metadata["snapshot-log"] += [{**entry, "timestamp-ms": entry["timestamp-ms"] - 10**7}]
        content = json.dumps(metadata)
    orphan = newest.with_name(f"00099-{newest.name[6:]}")
    orphan.write_text(content)
    make_old(orphan.parent)
    with pytest.raises(OhlcvError, match=rf"no orphan file .* was deleted: .*{orphan.name} cannot be read"):
        run_maintenance(harness, "1m", "expire", as_of=datetime.now(UTC).date())


def test_deleting_most_of_a_folder_must_be_confirmed(harness: Harness) -> None:
    harness.load([trade(NOON)])
    harness.build("1m", NOON, NOON + timedelta(minutes=5))
    folder = harness.settings.home / "warehouse" / NAMESPACE / "gold_ohlcv_1m"
    used = len(files_of(folder))
    for number in range(used + 1):
        (folder / "data" / f"{number}.parquet").write_bytes(b"left by a killed job")
    make_old(folder)
    share = (used + 1) / (2 * used + 1)
    message = f"{used + 1} of the {2 * used + 1} files in its folder .{share:.1%}. would be deleted, more than 50%"
    with pytest.raises(OhlcvError, match=rf"no orphan file .* was deleted: {message}"):
        run_maintenance(harness, "1m", "expire", as_of=datetime.now(UTC).date())
    assert len(files_of(folder)) >= 2 * used + 1
    table = maintained_table(harness.settings, "1m")
    request = Request(table, ("expire",), datetime.now(UTC).date(), max_orphan_share=share + 0.01)
    assert maintain(harness.spark, harness.settings, request)["expire"]["orphans_deleted"] == used + 1
    assert len(harness.stored("1m")) == 1
