"""Damaged files of tables and of the catalog: one line that names the file, and a fault of the doctor."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pyiceberg.table import DataScan

from ohlcv.cli.candles import candles
from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.avro_files import is_complete_avro
from ohlcv.iceberg.damage import check_catalog_file, check_files, report_damage
from ohlcv.iceberg.file_io import name_unreadable
from ohlcv.iceberg.retention_plan import plan_retention
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.ingest.loader import load_trades
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import Range
from ohlcv.monitoring.doctor import check_data
from ohlcv.monitoring.health import health
from ohlcv.quality.validator import validate
from ohlcv.readers.candles import read_candles
from support.candle_rows import MINUTE, at, candle, write_candles
from support.damaged_files import damaged
from support.default_tables import TRADES, candles_contract
from support.trade_files import NOON, write_generic

START, END = at("2026-01-31T12:00"), at("2026-01-31T13:00")
MINUTES = candles_contract(MINUTE)


def cut_last_bytes(content: bytes) -> bytes:
    """Return a file without its last bytes. pyiceberg reads an Avro file cut so as one with fewer entries."""
    return content[:-8]


def cut_half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def garbage(content: bytes) -> bytes:
    return bytes((position * 37 + 11) % 256 for position in range(len(content)))


def flip_middle(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(byte ^ 0xFF for byte in content[middle : middle + 40]) + content[middle + 40 :]


DAMAGES: dict[str, Callable[[bytes], bytes] | None] = {
    "empty": lambda content: b"",
    "truncated": cut_last_bytes,
    "garbage": garbage,
    "flipped": flip_middle,
    "missing": None,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return settings with one file of trades and two files of candles."""
    folder = tmp_path_factory.mktemp("home")
    settings = load_settings({"OHLCV_HOME": str(folder)})
    create_tables(settings)
    load_trades(settings, [write_generic(folder, f"x,BTC-USD,{NOON},1,1,0")])
    write_candles(settings, MINUTE, candle(MINUTE, "2026-01-31T12:00"), candle(MINUTE, "2026-01-30T12:00"))
    return settings


def table_files(settings: Settings, name: str) -> dict[str, Path]:
    """Return one file of each kind of a table."""
    table = load_table(open_catalog(settings), TRADES if name == "trades" else MINUTES)
    snapshot = table.current_snapshot()
    assert snapshot is not None
    (manifest,) = snapshot.manifests(table.io)
    data = manifest.fetch_manifest_entry(table.io)[0].data_file
    locations = {
        "metadata": table.metadata_location,
        "manifest list": snapshot.manifest_list,
        "manifest": manifest.manifest_path,
        "data": data.file_path,
    }
    return {kind: Path(location.removeprefix("file://")) for kind, location in locations.items()}


def load_more(settings: Settings) -> None:
    load_trades(settings, [write_generic(settings.home, f"x,BTC-USD,{NOON},1,1,0", f"x,BTC-USD,{NOON},1,1,9")])


def check_readers(settings: Settings, name: str, kind: str) -> list[Callable[[], Any]]:
    """Return the functions that read a file of this kind."""
    readers: list[Callable[[], Any]]
    if name == "trades":
        readers = [
            lambda: load_more(settings),
            lambda: validate(settings, MINUTE, Range(START, END)),
            lambda: health(settings, datetime(2026, 2, 1, tzinfo=UTC)),
        ]
    else:
        readers = [
            lambda: read_candles(settings, MINUTE, start=START, end=END),
            lambda: read_candles(settings, MINUTE, newest=1),
            lambda: validate(settings, MINUTE, Range(START, END)),
        ]
        if kind != "data":
            readers.append(lambda: plan_retention(settings, MINUTE, date(2026, 2, 1), date(2026, 2, 1)))
    if kind == "metadata":
        readers.append(lambda: create_tables(settings))
    return readers


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["metadata", "manifest list", "manifest", "data"])
@pytest.mark.parametrize("name", ["trades", "candles"])
def test_every_reader_names_a_damaged_file_in_one_line(home: Settings, name: str, kind: str, damage: str) -> None:
    file = table_files(home, name)[kind]
    with damaged(file, DAMAGES[damage]):
        for read in check_readers(home, name, kind):
            with pytest.raises(OhlcvError) as error:
                read()
            message = str(error.value)
            assert str(file) in message
            assert "restore it from a backup" in message
            assert "Damaged files in docs/runbook.md" in message
            assert "\n" not in message
        if not (kind == "data" and damage in ("garbage", "flipped")):
            # The size of a data file is checked, not its content.
            (fault,) = (check.found for check in check_data(home) if check.state == "fault")
            assert str(file) in fault
    read_candles(home, MINUTE, start=START, end=END)


def test_the_command_ends_with_one_line_and_exit_code_1(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHLCV_HOME", str(home.home))
    with damaged(table_files(home, "candles")["manifest list"], DAMAGES["empty"]):
        result = CliRunner().invoke(candles, ["--timeframe", "1m"])
    # click turns EOFError, which pyiceberg raises for an empty file, into "Aborted!".
    assert isinstance(result.exception, OhlcvError)


def test_an_error_without_damage_is_raised_unchanged(home: Settings) -> None:
    table = load_table(open_catalog(home), MINUTES)
    error = EOFError("another cause")
    with pytest.raises(EOFError) as raised, report_damage(table, table.scan()):
        raise error
    assert raised.value is error


def test_an_error_of_the_object_store_is_raised_without_reading_more(home: Settings) -> None:
    table = load_table(open_catalog(home), MINUTES)
    with (
        damaged(table_files(home, "candles")["data"], None),
        pytest.raises(OSError, match="AWS Error NETWORK_CONNECTION"),
        report_damage(table, table.scan()),
    ):
        raise OSError("When reading: AWS Error NETWORK_CONNECTION during HeadObject operation: timed out")


def test_a_load_says_that_it_failed_while_reading(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(scan: DataScan) -> None:
        raise OSError("When reading: AWS Error NETWORK_CONNECTION during GetObject operation: timed out")

    monkeypatch.setattr(DataScan, "to_arrow_batch_reader", fail)
    with pytest.raises(OhlcvError, match=r"^the trades table could not be read, nothing was loaded: When reading"):
        load_more(home)


def test_an_unreadable_file_is_reported_as_such() -> None:
    with (
        pytest.raises(OhlcvError, match=r"^file:///a.avro cannot be read: grant access to it$"),
        name_unreadable("file:///a.avro"),
    ):
        raise PermissionError


def test_the_doctor_counts_the_checked_files(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    minutes = load_table(open_catalog(home), MINUTES)
    assert check_files(minutes) == (2, 2)
    assert check_files(load_table(open_catalog(home), candles_contract(home.timeframe("1d")))) == (0, 0)
    monkeypatch.setattr("ohlcv.iceberg.damage.MAX_CHECKED_FILES", 1)
    assert check_files(minutes) == (1, 2)
    found = {check.name: check.found for check in check_data(home)}
    assert found["tables"] == "11, all match their contracts; 2 of 3 data files checked"


@pytest.mark.parametrize("change", [cut_half, garbage, flip_middle])
def test_damaged_pages_of_the_catalog_are_named(home: Settings, change: Callable[[bytes], bytes]) -> None:
    file = Path(str(home.catalog.embedded_database))
    check_catalog_file(str(file))
    # The first page is intact, so the file can be opened.
    with damaged(file, lambda content: content[:4096] + change(content[4096:])):
        (fault,) = (check.found for check in check_data(home) if check.state == "fault")
        assert fault.startswith(f"{file} is damaged (")
        assert fault.endswith("see Damaged files in docs/runbook.md")
        # A query notices only the pages that it reads.
        for read in () if change is flip_middle else (lambda: read_candles(home, MINUTE), lambda: create_tables(home)):
            with pytest.raises(OhlcvError, match="is damaged"):
                read()


def test_a_file_that_is_no_database_is_named(home: Settings) -> None:
    file = Path(str(home.catalog.embedded_database))
    with damaged(file, garbage), pytest.raises(OhlcvError, match=r"is damaged \(file is not a database\): restore it"):
        open_catalog(home)


@pytest.mark.parametrize("old", [b"PRIMARY KEY", b"/metadata/00001"])
def test_damaged_text_of_the_catalog_is_named(home: Settings, old: bytes) -> None:
    """Replace a letter by a byte that is not UTF-8: SQLite reports it in an error, or returns it as a value."""
    file = Path(str(home.catalog.embedded_database))
    with damaged(file, lambda content: content.replace(old, old[:-1] + b"\xe2")):
        with pytest.raises(OhlcvError, match=r"catalog.db is damaged \(.*: restore it from a backup"):
            load_table(open_catalog(home), TRADES)
        faults = [check.found for check in check_data(home) if check.state == "fault"]
        assert faults
        assert all("is damaged (" in fault for fault in faults)


@pytest.mark.parametrize("location", ["http://host/a.metadata.json", "file:///dev/null", "file:///"])
def test_an_entry_that_names_no_metadata_file_is_reported(home: Settings, location: str) -> None:
    with contextlib.closing(sqlite3.connect(str(home.catalog.embedded_database))) as connection, connection:
        select = "SELECT metadata_location FROM iceberg_tables WHERE table_name = ?"
        (before,) = connection.execute(select, (TRADES.name,)).fetchone()
        update = "UPDATE iceberg_tables SET metadata_location = ? WHERE table_name = ?"
        connection.execute(update, (location, TRADES.name))
        connection.commit()
        try:
            with pytest.raises(OhlcvError, match=r"gold_crypto_trades (does not name a metadata file|cannot be read)"):
                load_table(open_catalog(home), TRADES)
        finally:
            connection.execute(update, (before, TRADES.name))


def test_every_truncation_of_an_avro_file_is_detected(home: Settings) -> None:
    for kind in ("manifest list", "manifest"):
        content = table_files(home, "trades")[kind].read_bytes()
        assert is_complete_avro(content)
        # Only a file without its blocks is complete, too: pyiceberg writes one block.
        complete = [size for size in range(len(content)) if is_complete_avro(content[:size])]
        assert len(complete) == 1
