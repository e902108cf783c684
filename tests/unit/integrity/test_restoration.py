"""`ohlcv tables restore`: a table goes back to its newest complete state, and only with --yes."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pyarrow.fs import LocalFileSystem

from ohlcv.cli.tables import tables
from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.registration import register_tables
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.ingest.loader import load_trades
from ohlcv.integrity import restoration
from ohlcv.integrity.check import Selection, check_tables
from ohlcv.integrity.restoration import find_restoration, restore
from ohlcv.model.errors import InputError, MissingTableError, OhlcvError
from support.default_tables import TRADES
from support.trade_files import NOON, write_generic


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return settings with three loads of one trade each."""
    settings = load_settings({"OHLCV_HOME": str(tmp_path_factory.mktemp("home"))})
    create_tables(settings)
    for number in range(3):
        load(settings, number)
    return settings


@pytest.fixture
def home(template: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Return the settings of the template, whose files are put back afterwards: metadata names absolute locations."""
    shutil.copytree(template.home, tmp_path / "copy")
    monkeypatch.setenv("OHLCV_HOME", str(template.home))
    yield template
    shutil.rmtree(template.home)
    shutil.copytree(tmp_path / "copy", template.home)


def load(settings: Settings, *numbers: int) -> None:
    rows = (f"x{number},BTC-USD,{NOON + number},1.5,2,{number}" for number in numbers)
    load_trades(settings, [write_generic(settings.home, *rows)])


def rows(settings: Settings) -> int:
    return len(load_table(open_catalog(settings), TRADES).scan().to_arrow())


def newest_files(settings: Settings) -> dict[str, Path]:
    """Return the files that only the newest commit has."""
    table = load_table(open_catalog(settings), TRADES)
    snapshot = table.current_snapshot()
    assert snapshot is not None
    (manifest,) = [each for each in snapshot.manifests(table.io) if each.added_snapshot_id == snapshot.snapshot_id]
    locations = {
        "metadata file": table.metadata_location,
        "manifest list": snapshot.manifest_list,
        "manifest": manifest.manifest_path,
        "data file": manifest.fetch_manifest_entry(table.io)[0].data_file.file_path,
    }
    return {kind: Path(location.removeprefix("file://")) for kind, location in locations.items()}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(tables, ["restore", *arguments], standalone_mode=False)


def is_damaged(settings: Settings) -> bool:
    chosen = Selection(trades=True).choose(settings)
    return any(report.is_damaged for report in check_tables(settings, chosen, None))


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-30]),
}


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("metadata file", "missing"),
        ("metadata file", "empty"),
        ("metadata file", "truncated"),
        ("manifest list", "missing"),
        ("manifest", "empty"),
        ("data file", "truncated"),
    ],
)
def test_the_state_before_a_damaged_commit_is_restored_and_loading_again_completes_it(
    home: Settings, kind: str, damage: str
) -> None:
    file = newest_files(home)[kind]
    DAMAGES[damage](file)
    shown = run("gold_crypto_trades")
    assert f"damaged   {file}" in shown.output.replace("file://", "")
    assert "lost      whatever else was committed after" in shown.output
    assert shown.output.rstrip().endswith("note: nothing was changed: add --yes to restore")
    assert is_damaged(home)
    restored = run("gold_crypto_trades", "--yes")
    assert "restored  market_data.gold_crypto_trades as of" in restored.output
    assert not is_damaged(home)
    assert rows(home) == 2
    load(home, 0, 1, 2)
    assert rows(home) == 3
    # The state that was given up is not the newest one by mistake.
    assert register_tables(home, open_catalog(home), replace=True) == []


def test_a_readable_commit_that_is_lost_is_named(home: Settings) -> None:
    snapshot = load_table(open_catalog(home), TRADES).current_snapshot()
    assert snapshot is not None
    newest_files(home)["manifest list"].unlink()
    found = find_restoration(home, open_catalog(home), TRADES)
    assert [lost for lost, _, _ in found.lost] == [snapshot.snapshot_id]


def test_several_damaged_commits_are_given_up_together(home: Settings) -> None:
    table = load_table(open_catalog(home), TRADES)
    for snapshot in table.snapshots()[1:]:
        Path(snapshot.manifest_list.removeprefix("file://")).unlink()
    found = find_restoration(home, open_catalog(home), TRADES)
    assert len(found.problems) == len(found.lost) == 2
    restore(home, open_catalog(home), found)
    assert rows(home) == 1


def test_a_file_that_cannot_be_renamed_is_named_after_the_restoration(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = newest_files(home)["metadata file"]
    file.write_bytes(b"")

    class Locked(LocalFileSystem):  # type: ignore[misc]  # pyarrow has no types
        def move(self, *_: str) -> None:
            raise OSError("access denied")

    monkeypatch.setattr(
        restoration, "warehouse_files", lambda _, location: (Locked(), location.removeprefix("file://"))
    )
    restored = run("gold_crypto_trades", "--yes")
    assert "restored  market_data.gold_crypto_trades as of" in restored.output
    assert f"note: {file} could not be renamed: move it to another place" in restored.output.replace("file://", "")
    assert rows(home) == 2


def test_a_complete_table_is_not_changed(home: Settings) -> None:
    before = newest_files(home)
    assert "is complete, nothing to restore" in run("market_data.gold_crypto_trades", "--yes").output
    assert newest_files(home) == before


def test_a_file_of_a_commit_that_failed_is_never_a_state(home: Settings) -> None:
    newest = newest_files(home)["metadata file"]
    older = [path for path in newest.parent.glob("*.metadata.json") if path.name.startswith("00002-")]
    # Another writer, whose commit was refused, had written the same version.
    shutil.copy(
        newest.parent / older[0].name, newest.parent / "00002-ffffffff-0000-4000-8000-000000000000.metadata.json"
    )
    newest.write_bytes(b"")
    found = find_restoration(home, open_catalog(home), TRADES)
    assert found.target.endswith(f"/{older[0].name}")


def test_a_complete_file_of_a_commit_that_failed_does_not_replace_damaged_states(home: Settings) -> None:
    newest = newest_files(home)["metadata file"]
    others = [path for path in newest.parent.glob("*.metadata.json") if path != newest]
    first = next(path for path in others if path.name.startswith("00000-"))
    shutil.copy(first, newest.parent / "00001-ffffffff-0000-4000-8000-000000000000.metadata.json")
    for path in newest.parent.glob("*.avro"):
        path.unlink()
    for path in others:
        path.write_bytes(b"")
    with pytest.raises(OhlcvError, match="has no complete state"):
        find_restoration(home, open_catalog(home), TRADES)


def test_an_entry_that_names_nothing_is_replaced_by_the_newest_file(home: Settings) -> None:
    newest = newest_files(home)["metadata file"]
    with closing(sqlite3.connect(str(home.catalog.embedded_database))) as connection, connection:
        connection.execute(
            "UPDATE iceberg_tables SET metadata_location = 'x', previous_metadata_location = NULL WHERE table_name = ?",
            (TRADES.name,),
        )
    found = find_restoration(home, open_catalog(home), TRADES)
    assert found.target == newest.as_uri()
    restore(home, open_catalog(home), found)
    assert rows(home) == 3


def test_a_table_that_changes_meanwhile_is_not_set_back(home: Settings) -> None:
    newest_files(home)["manifest list"].unlink()
    catalog = open_catalog(home)
    found = find_restoration(home, catalog, TRADES)
    restore(home, catalog, found)
    load(home, 7)
    with pytest.raises(OhlcvError, match="was changed meanwhile: stop all writers, then restore again"):
        restore(home, catalog, found)
    assert rows(home) == 3


def test_without_a_complete_state_the_error_says_what_to_do(home: Settings) -> None:
    for path in newest_files(home)["manifest list"].parent.glob("*.avro"):
        path.unlink()
    for path in (home.home / "warehouse").rglob("gold_crypto_trades/metadata/*.metadata.json"):
        path.write_bytes(b"")
    with pytest.raises(OhlcvError, match=r"has no complete state \(.*\): restore its files from a backup, or see"):
        find_restoration(home, open_catalog(home), TRADES)


def test_tables_that_cannot_be_restored_are_refused(home: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no table of these settings"):
        raise run("prices").exception or AssertionError
    empty = load_settings({"OHLCV_HOME": str(tmp_path / "other")})
    with pytest.raises(MissingTableError):
        find_restoration(empty, open_catalog(empty), TRADES)
    service = load_settings({"OHLCV_HOME": str(tmp_path), "OHLCV_CATALOG_URI": "http://127.0.0.1:1"})
    with pytest.raises(InputError, match="restores tables itself: use its own tools"):
        find_restoration(service, open_catalog(home), TRADES)
