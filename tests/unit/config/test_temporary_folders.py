"""Temporary folders: those of killed processes are removed, those in use and foreign ones are not."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ohlcv.config.temporary_folders import LOCK_NAME, temporary_folder

PROGRAM = """
import os, sys
from ohlcv.quality.rule_database import rule_database

with rule_database("512m") as connection:
    connection.execute("SELECT 1")
    print("ready", flush=True)
    sys.stdin.read(1)
    os._exit(137)
"""


@pytest.fixture(autouse=True)
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def make_old(parent: Path) -> None:
    for path in parent.glob(f"*/{LOCK_NAME}"):
        os.utime(path, (1, 1))


def test_a_folder_is_removed_after_use(parent: Path) -> None:
    with temporary_folder() as folder:
        assert [str(path) for path in parent.iterdir()] == [folder]
    assert list(parent.iterdir()) == []


def test_the_folder_of_a_killed_process_is_removed_by_the_next_one(parent: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(parent)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        (used,) = parent.iterdir()
        make_old(parent)
        with temporary_folder():
            assert used.exists()
        process.stdin.write("x")
        process.stdin.close()
        assert process.wait() == 137
    assert used.exists()
    with temporary_folder():
        assert not used.exists()


def test_a_new_folder_and_a_foreign_one_are_kept(parent: Path) -> None:
    new, foreign = parent / "ohlcv-new", parent / "ohlcv-other"
    new.mkdir()
    foreign.mkdir()
    (new / LOCK_NAME).touch()
    with temporary_folder():
        assert new.exists()
        assert foreign.exists()
