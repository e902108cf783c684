"""The file lock of SQLite catalogs. Two locks in one process exclude each other, as those of two processes do."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.file_lock import FileLock
from ohlcv.iceberg.write_lock import LockedTableError, write_lock
from ohlcv.model.errors import OhlcvError
from ohlcv.model.timeframes import get_timeframe
from support.default_tables import candles_contract


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with FileLock(path) as second:
        with FileLock(path) as first:
            assert first.try_lock()
            assert not second.try_lock()
            assert second.holder() == f"process {os.getpid()}"
            assert first.find_loss() is None
        assert second.try_lock()


def test_a_lock_whose_file_was_deleted_is_lost_and_the_next_writer_gets_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with FileLock(path) as first, FileLock(path) as second:
        assert first.try_lock()
        path.unlink()
        assert first.find_loss() == f"{path}: No such file or directory"
        assert second.try_lock()
        assert first.find_loss() == f"{path} was replaced by another file"
        assert second.find_loss() is None


def test_a_waiting_writer_does_not_get_the_lock_of_a_deleted_file(tmp_path: Path) -> None:
    """The first holder ends, but the lock of the file at the path belongs to another one."""
    path = tmp_path / "lock"
    with FileLock(path) as waiting, FileLock(path) as second:
        with FileLock(path) as first:
            assert first.try_lock()
            assert not waiting.try_lock()
            path.unlink()
            assert second.try_lock()
        assert not waiting.try_lock()
        assert waiting.holder() == f"process {os.getpid()}"


def test_a_file_that_is_deleted_while_it_is_locked_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lock"
    flock = fcntl.flock
    deleted: list[bool] = []

    def delete_first(*arguments: object) -> None:
        if not deleted:
            deleted.append(True)
            path.unlink()
        flock(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", delete_first)
    with FileLock(path) as lock:
        assert lock.try_lock()
        assert lock.find_loss() is None


def test_a_file_system_without_locks_is_reported_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with FileLock(tmp_path / "lock") as lock, pytest.raises(OhlcvError, match=r"No locks available.*: put the catalog"):
        lock.try_lock()


def test_a_writer_that_waits_for_a_deleted_lock_file_names_its_holder(tmp_path: Path) -> None:
    settings = load_settings({"OHLCV_HOME": str(tmp_path)})
    table = candles_contract(get_timeframe("1m"))
    with write_lock(settings, table) as assert_lock_held:
        with (
            pytest.raises(LockedTableError, match=f"is locked by process {os.getpid()}"),
            write_lock(settings, table, 0),
        ):
            pass
        assert_lock_held()
        next(tmp_path.glob("*.lock")).unlink()
        with pytest.raises(OhlcvError, match=r"gold_ohlcv_1m was lost \(.*No such file.*\): nothing was written"):
            assert_lock_held()
