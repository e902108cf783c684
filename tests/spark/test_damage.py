"""Damaged files in jobs: Spark's error is replaced by one line that names the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from ohlcv.model.errors import DamagedFileError
from spark_jobs.runtime.spark_errors import find_damage
from support.harness import Harness, at, trade

NOON = at("2026-03-01 12:00")
ONE = at("2026-03-01 13:00")


def files_of_trades(harness: Harness) -> Iterator[Path]:
    """Yield a manifest and a data file of the trades table."""
    table = harness.table()
    snapshot = table.current_snapshot()
    assert snapshot is not None
    (manifest,) = snapshot.manifests(table.io)
    (entry,) = manifest.fetch_manifest_entry(table.io)
    for location in (manifest.manifest_path, entry.data_file.file_path):
        yield Path(location.removeprefix("file://"))


@pytest.mark.parametrize("name", ["trades", "candles"])
def test_a_truncated_manifest_list_is_not_taken_for_deleted_files(harness: Harness, name: str) -> None:
    harness.load([trade(NOON)])
    harness.build("1m", NOON, ONE)
    snapshot = harness.table(None if name == "trades" else "1m").current_snapshot()
    assert snapshot is not None
    file = Path(snapshot.manifest_list.removeprefix("file:"))
    content = file.read_bytes()
    file.write_bytes(content[:-8])
    # Spark writes a checksum file beside it, pyiceberg does not.
    with pytest.raises((DamagedFileError, Py4JJavaError)) as raised:
        harness.build("1m", NOON, ONE)
    error = raised.value
    damage = error if isinstance(error, DamagedFileError) else find_damage(error, "catalog.db")
    assert str(damage).startswith(f"{file} ")
    file.write_bytes(content)
    assert harness.build("1m", NOON, ONE)["candles"]["unchanged"] == 1


def damage_found(harness: Harness) -> str:
    """Return the message about the damaged file that a build meets."""
    with pytest.raises((Py4JJavaError, PySparkException)) as raised:
        harness.build("1m", NOON, ONE)
    damage = find_damage(raised.value, "catalog.db")
    assert damage is not None
    return str(damage)


@pytest.mark.parametrize("damage", ["empty", "garbage", "missing"])
def test_a_job_names_the_damaged_file(harness: Harness, damage: str) -> None:
    harness.load([trade(NOON)])
    for file in files_of_trades(harness):
        good = file.read_bytes()
        file.unlink()
        if damage != "missing":
            file.write_bytes(b"x" * len(good) if damage == "garbage" else b"")
        message = damage_found(harness)
        file.write_bytes(good)
        # Parquet does not name a file of the right size with wrong content.
        is_named = not (damage == "garbage" and file.suffix == ".parquet")
        name = str(file) if is_named else "a data file ('ohlcv validate' for the range names it)"
        assert message.startswith(f"{name} cannot be read (")
        assert message.endswith("): restore it from a backup, or see Damaged files in docs/runbook.md")
        assert "\n" not in message
    assert harness.build("1m", NOON, ONE)["candles"]["inserted"] == 1


def test_a_job_names_the_damaged_catalog(harness: Harness) -> None:
    harness.load([trade(NOON)])
    catalog = Path(str(harness.settings.catalog.embedded_database))
    content = catalog.read_bytes()
    for suffix in ("-wal", "-shm"):
        Path(f"{catalog}{suffix}").unlink(missing_ok=True)
    catalog.write_bytes(content[:4096] + b"garbage!" * ((len(content) - 4096) // 8))
    assert damage_found(harness).startswith("catalog.db is damaged (")


def test_another_error_is_no_damage(harness: Harness) -> None:
    with pytest.raises(PySparkException) as raised:
        harness.sql("SELECT 1 / 0")
    assert find_damage(raised.value, "catalog.db") is None
