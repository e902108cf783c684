"""`ohlcv fsck`: every damaged file is found, with what depends on it and its repair; intact tables have no finding."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from ohlcv.cli.fsck import fsck
from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.ingest.loader import load_trades
from ohlcv.integrity.check import Selection, check_tables
from ohlcv.integrity.findings import TableCheck
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.intervals import Range
from ohlcv.quality.validator import validate
from support.candle_rows import MINUTE, at, candle, write_candles
from support.damaged_files import damaged, find_silent_change, flip_bit
from support.default_tables import TRADES, candles_contract
from support.trade_files import NOON, write_generic

MINUTES = candles_contract(MINUTE)
CATALOG = "catalog"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return settings with two loads of trades, and candles of two days in two commits."""
    folder = tmp_path_factory.mktemp("home")
    settings = load_settings({"OHLCV_HOME": str(folder)})
    create_tables(settings)
    for number in range(2):
        rows = (f"x{number}{row},BTC-USD,{NOON + row},1.5,2,0" for row in range(50))
        load_trades(settings, [write_generic(folder, *rows)])
    write_candles(settings, MINUTE, candle(MINUTE, "2026-01-31T12:00"), candle(MINUTE, "2026-01-30T12:00"))
    write_candles(settings, MINUTE, candle(MINUTE, "2026-01-31T12:01"))
    return settings


def check(settings: Settings, since: datetime | None = None, **chosen: object) -> dict[str, TableCheck]:
    tables = Selection(**chosen).choose(settings)  # type: ignore[arg-type]
    return {report.table: report for report in check_tables(settings, tables, since)}


def files_of(settings: Settings, trades: bool, past: bool = False) -> dict[str, Path]:
    """Return one file of each kind of the trades or the 1m candles, of the current or the first snapshot."""
    table = load_table(open_catalog(settings), TRADES if trades else MINUTES)
    snapshot = table.snapshots()[0] if past else table.current_snapshot()
    assert snapshot is not None
    manifest = snapshot.manifests(table.io)[0]
    data = manifest.fetch_manifest_entry(table.io)[0].data_file
    locations = {
        "metadata file": table.metadata_location,
        "manifest list": snapshot.manifest_list,
        "manifest": manifest.manifest_path,
        "data file": data.file_path,
    }
    return {kind: Path(location.removeprefix("file://")) for kind, location in locations.items()}


def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.setenv("OHLCV_HOME", str(settings.home))
    return CliRunner().invoke(fsck, arguments, standalone_mode=False)


def test_intact_tables_are_read_completely(home: Settings) -> None:
    reports = check(home)
    assert len(reports) == 12
    assert all(not report.damages for report in reports.values())
    trades, candles = reports[str(TRADES)], reports[str(MINUTES)]
    assert (trades.snapshots, trades.files, trades.files_read, trades.rows) == (2, 2, 2, 100)
    assert (candles.snapshots, candles.files_read, candles.rows) == (2, 3, 3)
    # The loader writes checksums; the candles of this test are written without them.
    assert (trades.without_checksums, candles.without_checksums) == (0, 3)


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated"])
@pytest.mark.parametrize("kind", ["metadata file", "manifest list", "manifest", "data file"])
@pytest.mark.parametrize("trades", [True, False])
def test_a_damaged_file_is_named_with_its_effect_and_repair(
    home: Settings, trades: bool, kind: str, damage: str
) -> None:
    file, name = files_of(home, trades)[kind], str(TRADES if trades else MINUTES)
    changes = {"missing": None, "empty": lambda _: b"", "truncated": lambda content: content[:-20]}
    with damaged(file, changes[damage]):
        reports = check(home, timeframes=["1m"], trades=True)
    assert [table for table, report in reports.items() if report.damages] == [name]
    damages = [each for each in reports[name].damages if not each.is_past]
    assert [(each.kind, each.path) for each in damages] == [(kind, str(file))]
    assert reports[name].is_damaged
    command = "repair" if kind == "data file" else "restore"
    assert damages[0].repair.startswith(f"restore the file from a backup, or run 'ohlcv tables {command} {name}'")
    if kind == "data file":
        assert damages[0].affects == ("50 trades of 2026-01-31T12Z" if trades else "1 candles of 2026-01-31")
    assert "\n" not in damages[0].line


def test_a_changed_bit_in_a_page_is_found(home: Settings) -> None:
    file = files_of(home, trades=True)["data file"]
    # The end of the dictionary with the ids of the trades. Its header has no checksum.
    end = pq.ParquetFile(file).metadata.row_group(0).column(0).data_page_offset
    for position in range(end - 30, end, 6):
        with damaged(file, partial(flip_bit, bit=position * 8)):
            assert check(home, trades=True)[str(TRADES)].is_damaged


def test_a_changed_value_is_found(home: Settings) -> None:
    file = files_of(home, trades=True)["data file"]
    wrong = find_silent_change(file, within_bounds=True)
    with damaged(file, lambda _: wrong):
        assert check(home, trades=True)[str(TRADES)].is_damaged


def test_a_changed_value_is_an_error_of_every_reader(home: Settings) -> None:
    file = files_of(home, trades=True)["data file"]
    wrong = find_silent_change(file)
    readers: list[Callable[[], object]] = [
        lambda: load_trades(home, [write_generic(home.home, f"x00,BTC-USD,{NOON},1.5,2,0")]),
        lambda: validate(home, MINUTE, Range(at("2026-01-31T12:00"), at("2026-01-31T13:00"))),
    ]
    with damaged(file, lambda _: wrong):
        for read in readers:
            with pytest.raises(OhlcvError, match=rf"^{file} cannot be read \(.*CRC"):
                read()


def test_a_file_that_only_an_earlier_state_needs_is_reported_without_a_fault(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with damaged(files_of(home, trades=True, past=True)["manifest list"], None):
        report = check(home)[str(TRADES)]
        result = run(home, monkeypatch, "--trades")
    (damage,) = report.damages
    assert damage.is_past
    assert damage.affects.startswith("earlier states only")
    assert not report.is_damaged
    assert result.return_value == 0
    assert "damaged: market_data.gold_crypto_trades: manifest list" in result.output


def test_a_damaged_catalog_is_reported_alone(home: Settings) -> None:
    file = Path(str(home.catalog.embedded_database))
    with damaged(file, lambda content: content[:4096] + bytes(len(content) - 4096)):
        reports = check(home)
    assert list(reports) == [CATALOG]
    assert reports[CATALOG].damages[0].affects == "all tables"


def test_an_entry_without_a_metadata_file_is_reported(home: Settings) -> None:
    database = str(home.catalog.embedded_database)
    with damaged(Path(database), lambda content: content):
        with closing(sqlite3.connect(database)) as connection, connection:
            update = "UPDATE iceberg_tables SET metadata_location = ? WHERE table_name = ?"
            connection.execute(update, ("file:///nowhere/1.metadata.json", TRADES.name))
        (damage,) = check(home)[str(TRADES)].damages
    assert (damage.path, damage.problem) == ("/nowhere/1.metadata.json", "is missing")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b'"total-records":"50"', b'"total-records":"51"', "differs from the metadata file before it in snapshot"),
        (b'"name":"price"', b'"name":"prise"', "differs from the metadata file before it in schema"),
    ],
)
def test_a_changed_letter_of_the_metadata_is_found(home: Settings, old: bytes, new: bytes, problem: str) -> None:
    file = files_of(home, trades=True)["metadata file"]
    assert old in file.read_bytes()
    with damaged(file, lambda content: content.replace(old, new)):
        (damage,) = check(home, trades=True)[str(TRADES)].damages
    assert problem in damage.problem


def test_since_reads_only_files_of_later_commits(home: Settings) -> None:
    later = check(home, since=datetime.now(UTC) + timedelta(hours=1))[str(TRADES)]
    assert (later.files, later.files_read) == (2, 0)
    earlier = check(home, since=datetime.now(UTC) - timedelta(hours=1))[str(TRADES)]
    assert (earlier.files, earlier.files_read) == (2, 2)


def test_tables_are_chosen_by_name_timeframe_and_trades(home: Settings) -> None:
    assert list(check(home, tables=["gold_ohlcv_5m", str(TRADES)])) == [
        CATALOG,
        str(TRADES),
        "market_data.gold_ohlcv_5m",
    ]
    assert list(check(home, timeframes=["1m"], trades=True)) == [CATALOG, str(TRADES), str(MINUTES)]
    with pytest.raises(InputError, match=r"^'prices' is no table of these settings: choose from gold_crypto_trades, "):
        Selection(tables=["prices"]).choose(home)


def test_a_table_that_the_catalog_does_not_have_is_reported(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = load_settings({"OHLCV_HOME": str(tmp_path)})
    reports = check(other)
    assert list(reports) == list(check(home))
    assert [each.table for each in reports.values() if not each.is_damaged] == [CATALOG]
    result = run(other, monkeypatch, "--trades")
    assert result.return_value == 1
    assert (
        "table market_data.gold_crypto_trades is not in the catalog; affects every reader and job of the table; "
        "repair: run 'ohlcv tables create' if it is new, or 'ohlcv tables register' if the catalog lost it"
    ) in result.output.replace("\n", " ")


def test_the_command_prints_json_and_exits_with_1_if_there_is_damage(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = files_of(home, trades=False)["data file"]
    with damaged(file, lambda content: content[:-1]):
        result = run(home, monkeypatch, "--timeframe", "1m", "--json")
    assert result.return_value == 1
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["table"], line["damaged"]) for line in found] == [(CATALOG, False), (str(MINUTES), True)]
    assert found[1]["damages"][0]["path"] == str(file)


def test_a_time_in_the_future_is_refused(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(home, monkeypatch, "--since", "2999-01-01T00:00Z")
    assert isinstance(result.exception, InputError)
