"""Embedded catalog without write permission, or locked by another process."""

from __future__ import annotations

import contextlib
import gc
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, open_catalog
from ohlcv.model.errors import OhlcvError
from ohlcv.model.timeframes import get_timeframe
from support.candle_rows import candle, write_candles
from support.restricted_process import run_restricted, write_protected

# pyiceberg does not close the connections of its catalogs, so the garbage collector does.
pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")

MINUTE = get_timeframe("1m")
RANGE = ["--timeframe", "1m", "--start", "2026-03-01T00:00Z", "--end", "2026-03-01T00:01Z"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Settings]:
    """Yield an installation with one candle."""
    settings = load_settings({"OHLCV_HOME": str(tmp_path / "home")})
    create_tables(settings)
    write_candles(settings, MINUTE, candle(MINUTE, datetime(2026, 3, 1, tzinfo=UTC)))
    gc.collect()
    yield settings
    gc.collect()


def set_journal_mode(settings: Settings, mode: str) -> None:
    with contextlib.closing(sqlite3.connect(str(settings.catalog.embedded_database))) as connection:
        assert connection.execute(f"PRAGMA journal_mode={mode}").fetchone() == (mode,)


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_commands_that_only_read_need_no_write_permission(site: Settings, mode: str) -> None:
    set_journal_mode(site, mode)
    commands = [
        ["candles", *RANGE, "--format", "json"],
        ["validate", *RANGE],
        ["health", "--format", "json"],
        ["tables", "create", "--no-views"],
        ["doctor"],
        ["trades", "sample", "--trades", "8", "--hours", "1"],
        ["tables", "widen-volume", "--timeframe", "1m"],
    ]
    with write_protected(site.home):
        before = {path: path.read_bytes() for path in site.home.rglob("*") if path.is_file()}
        candles, validation, health, create, doctor, *writers = run_restricted(commands, {"OHLCV_HOME": str(site.home)})
        assert {path: path.read_bytes() for path in site.home.rglob("*") if path.is_file()} == before
    assert candles[0] == 0, candles
    assert "2026-03-01T00:00:00" in candles[1]
    assert validation[0] == 0, validation
    assert health[0] in (0, 1)
    assert "gold_ohlcv_1m" in health[1]
    assert create == (0, create[1], "")
    assert create[1].count("exists ") == 11
    lines = {line.split()[1]: line for line in doctor[1].splitlines()}
    folder = "choose another folder or grant access"
    assert lines["catalog"].endswith(f"the catalog's folder {site.home} is not writable (Permission denied): {folder}")
    assert lines["warehouse"].endswith(f"{site.home}/warehouse is not writable (Permission denied): {folder}")
    assert lines["tables"].startswith("ok ")
    for code, output, errors in writers:
        assert (code, output) == (2, "")
        assert errors.splitlines()[-1].startswith(f"error: the catalog's folder {site.home} is not writable (")
        assert "Traceback" not in errors


def test_a_catalog_file_without_write_permission_is_a_fault(site: Settings) -> None:
    database = Path(str(site.catalog.embedded_database))
    with write_protected(database):
        [(code, output, _)] = run_restricted([["doctor"]], {"OHLCV_HOME": str(site.home)})
    assert code == 1
    assert f"fault    catalog    the catalog {database} is not writable: grant access to the file\n" in output
    assert "\nok       tables " in output


def test_an_unreadable_catalog_file_is_reported(site: Settings) -> None:
    Path(str(site.catalog.embedded_database)).chmod(0)
    ((code, _, errors),) = run_restricted([["candles", *RANGE]], {"OHLCV_HOME": str(site.home)})
    assert (code, errors) == (
        2,
        f"error: the catalog {site.catalog.embedded_database} is not readable: grant access to the file\n",
    )


def test_a_missing_catalog_in_a_write_protected_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with write_protected(tmp_path / "home"):
        [(code, _, errors)] = run_restricted([["candles", *RANGE]], {"OHLCV_HOME": str(tmp_path / "home")})
    assert code == 2
    assert errors.startswith(f"error: the catalog's folder {tmp_path}/home is not writable (Permission denied): choose")


def test_a_locked_catalog_is_reported_after_one_wait(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    connect = sqlite3.connect

    def connect_without_wait(database: str, *, timeout: float, **options: Any) -> sqlite3.Connection:
        waits.append(timeout)
        found: sqlite3.Connection = connect(database, timeout=0, **options)
        return found

    with contextlib.closing(connect(str(site.catalog.embedded_database), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(sqlite3, "connect", connect_without_wait)
        monkeypatch.setattr(sqlite3.dbapi2, "connect", connect_without_wait)  # SQLAlchemy's
        with pytest.raises(
            OhlcvError,
            match=r"^the catalog sqlite:///.*catalog.db is locked by another process, waited 60 s: wait until",
        ):
            open_catalog(site)
    assert waits == [60]
