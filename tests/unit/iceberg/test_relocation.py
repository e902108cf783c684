"""A copied or moved home: nothing is written through its old locations, and relocation makes it independent."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import urlsplit

import fastavro
import pytest
from pyiceberg.catalog.memory import InMemoryCatalog
from pyiceberg.exceptions import NoSuchTableError

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.registration import register_tables
from ohlcv.iceberg.relocation import relocate_tables
from ohlcv.iceberg.tables import (
    check_location,
    check_locations,
    create_tables,
    extend,
    load_table,
    load_table_to_write,
    open_catalog,
)
from ohlcv.iceberg.views import extended_timeframes, view_states
from ohlcv.ingest.loader import load_trades
from ohlcv.model.errors import InputError, OhlcvError
from support.default_tables import NAMESPACE, TRADES, contracts
from support.stored_views import store_views
from support.trade_files import HEADER, HOUR, NOON, stored_trades

FIRST, SECOND = f"x,BTC-USD,{NOON},1,1,1", f"x,BTC-USD,{NOON + HOUR},2,1,2"


def home_settings(home: Path) -> Settings:
    return load_settings({"OHLCV_HOME": str(home)})


def load(settings: Settings, *rows: str) -> int:
    file = settings.home.parent / "trades.csv"
    file.write_text("".join(f"{line}\n" for line in (HEADER, *rows)))
    return load_trades(settings, [file]).loaded


def files_of(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


@pytest.fixture
def original(tmp_path: Path) -> Settings:
    settings = home_settings(tmp_path / "a")
    create_tables(settings)
    load(settings, FIRST)
    return settings


@pytest.fixture
def copy(original: Settings) -> Settings:
    """Return the settings of a copied home."""
    home = original.home.with_name("b")
    shutil.copytree(original.home, home)
    return home_settings(home)


def test_nothing_is_written_through_the_locations_of_the_original(original: Settings, copy: Settings) -> None:
    before = files_of(original.home)
    with pytest.raises(OhlcvError, match=r"outside the warehouse file:.*/b/warehouse: run 'ohlcv tables relocate'"):
        load(copy, SECOND)
    with pytest.raises(OhlcvError, match="outside the warehouse"):
        create_tables(copy)
    for contract in contracts():
        with pytest.raises(OhlcvError, match="outside the warehouse"):
            load_table_to_write(copy, contract)
    assert files_of(original.home) == before


def test_a_relocated_copy_is_independent_of_the_original(original: Settings, copy: Settings) -> None:
    before = files_of(original.home)
    relocations = relocate_tables(copy)
    assert [relocation.name for relocation in relocations] == sorted(str(contract) for contract in contracts())
    # The manifest, the manifest list and two metadata files of the trades table; one file of an empty table.
    assert [relocation.rewritten for relocation in relocations] == [4, *(1,) * 10]
    assert load(copy, FIRST, SECOND) == 1
    assert files_of(original.home) == before
    old_location = f"file://{original.home}".encode()
    assert [name for name, content in files_of(copy.home / "warehouse").items() if old_location in content] == []
    shutil.rmtree(original.home)
    assert len(stored_trades(copy)) == 2


def test_extended_tables_and_current_views_stay_so_in_a_relocated_copy(original: Settings) -> None:
    extend(original, original.candles_contract(original.timeframe("1h")))
    store_views(original)
    home = original.home.with_name("b")
    shutil.copytree(original.home, home)
    shutil.move(original.home, original.home.with_name("elsewhere"))
    copy = home_settings(home)
    relocate_tables(copy)
    assert set(view_states(copy).values()) == {"current"}
    assert extended_timeframes(copy, open_catalog(copy)) == ["1h"]
    # After the catalog was lost.
    for file in home.glob("catalog.db*"):
        file.unlink()
    register_tables(copy, open_catalog(copy), replace=False)
    assert extended_timeframes(copy, open_catalog(copy)) == ["1h"]
    assert set(view_states(copy).values()) == {"missing"}


def test_the_history_of_a_relocated_table_remains_readable(original: Settings) -> None:
    load(original, SECOND)
    snapshots = [snapshot.snapshot_id for snapshot in load_table(open_catalog(original), TRADES).snapshots()]
    home = original.home.with_name("moved")
    original.home.rename(home)
    moved = home_settings(home)
    with pytest.raises(OhlcvError, match=r"is missing .*: run 'ohlcv tables relocate' if the home was copied or moved"):
        load_table(open_catalog(moved), TRADES)
    with pytest.raises(OhlcvError, match="run 'ohlcv tables relocate'"):
        create_tables(moved)
    with pytest.raises(OhlcvError, match="run 'ohlcv tables relocate'"):
        check_locations(moved)
    relocate_tables(moved)
    table = load_table(open_catalog(moved), TRADES)
    assert [snapshot.snapshot_id for snapshot in table.snapshots()] == snapshots
    assert [len(table.scan(snapshot_id=snapshot).to_arrow()) for snapshot in snapshots] == [1, 2]


def test_manifests_keep_their_header_and_lists_the_sizes_of_manifests(copy: Settings) -> None:
    def avro(kind: str) -> tuple[dict[str, str], list[dict[str, object]], int]:
        (path,) = (copy.home / "warehouse" / NAMESPACE / TRADES.name / "metadata").glob(kind)
        with path.open("rb") as file:
            reader = fastavro.reader(file)
            return dict(reader.metadata), list(reader), path.stat().st_size  # type: ignore[arg-type]

    before = avro("*-m0.avro")[0]
    relocate_tables(copy)
    (header, _, size), (_, [listed], _) = avro("*-m0.avro"), avro("snap-*.avro")
    assert {name: header[name] for name in before if name != "avro.schema"} == {
        name: before[name] for name in before if name != "avro.schema"
    }
    assert listed["manifest_length"] == size


def test_a_truncated_file_of_a_killed_job_is_left_unchanged(copy: Settings) -> None:
    folder = copy.home / "warehouse" / NAMESPACE / TRADES.name / "metadata"
    manifest = next(folder.glob("*-m0.avro"))
    left = folder / "left-m0.avro"
    left.write_bytes(manifest.read_bytes()[:-20])
    assert [path for relocation in relocate_tables(copy) for path in relocation.unreadable] == [str(left)]
    assert load(copy, SECOND) == 1


def test_relocating_again_changes_nothing(copy: Settings) -> None:
    relocate_tables(copy)
    before = files_of(copy.home / "warehouse")
    assert sum(relocation.rewritten for relocation in relocate_tables(copy)) == 0
    assert files_of(copy.home / "warehouse") == before


def test_an_interrupted_relocation_can_be_repeated(copy: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ohlcv.iceberg.relocation._point_to_warehouse", interrupt)
        with pytest.raises(KeyboardInterrupt):
            relocate_tables(copy)
    with pytest.raises(OhlcvError, match="outside the warehouse"):
        load(copy, SECOND)
    relocate_tables(copy)
    assert load(copy, SECOND) == 1


def test_an_incomplete_copy_is_refused_and_its_catalog_not_changed(original: Settings, copy: Settings) -> None:
    data = next((copy.home / "warehouse" / NAMESPACE / TRADES.name).rglob("*.parquet"))
    data.unlink()
    with pytest.raises(OhlcvError, match=f"^{data} is missing or incomplete: copy or move the complete home"):
        relocate_tables(copy)
    shutil.rmtree(copy.home / "warehouse" / NAMESPACE / "gold_ohlcv_1m")
    with pytest.raises(OhlcvError, match="is missing: copy or move the complete warehouse"):
        relocate_tables(copy)
    assert open_catalog(copy).load_table((NAMESPACE, TRADES.name)).location().startswith(original.warehouse)


def test_only_local_warehouses_are_relocated() -> None:
    settings = load_settings({"OHLCV_CATALOG_URI": "http://127.0.0.1:1", "OHLCV_WAREHOUSE": "main"})
    with pytest.raises(InputError, match=r"^only tables in a local folder and a SQLite or PostgreSQL catalog"):
        relocate_tables(settings)
    with pytest.raises(InputError, match=r"^the service of the catalog http://127\.0\.0\.1:1 registers tables itself"):
        register_tables(settings, InMemoryCatalog("test"), replace=False)


def test_the_service_of_a_rest_catalog_decides_where_tables_are(original: Settings) -> None:
    table = load_table(open_catalog(original), TRADES)
    rest = load_settings({"OHLCV_CATALOG_URI": "http://127.0.0.1:1", "OHLCV_WAREHOUSE": "s3://bucket/prefix"})
    check_location(rest, table)
    elsewhere = load_settings({"OHLCV_HOME": "/elsewhere"})
    with pytest.raises(OhlcvError, match="outside the warehouse"):
        check_location(elsewhere, table)


def test_tables_are_not_created_over_files(original: Settings) -> None:
    Path(str(original.catalog.embedded_database)).unlink()
    before = files_of(original.home / "warehouse")
    with pytest.raises(OhlcvError, match=r"gold_crypto_trades contains files, but .*: run 'ohlcv tables register'"):
        create_tables(original)
    with pytest.raises(NoSuchTableError):
        open_catalog(original).load_table((NAMESPACE, TRADES.name))
    assert files_of(original.home / "warehouse") == before
    assert register_tables(original, open_catalog(original), replace=False) == [str(each) for each in contracts()]
    assert len(stored_trades(original)) == 1
    assert create_tables(original).created == []
    assert register_tables(original, open_catalog(original), replace=False) == []


def test_an_older_catalog_is_replaced_only_on_request(original: Settings) -> None:
    backup = original.home / "catalog.backup"
    shutil.copy(str(original.catalog.embedded_database), backup)
    load(original, SECOND)
    shutil.copy(backup, str(original.catalog.embedded_database))
    assert register_tables(original, open_catalog(original), replace=False) == []
    assert len(stored_trades(original)) == 1
    assert register_tables(original, open_catalog(original), replace=True) == [str(TRADES)]
    assert len(stored_trades(original)) == 2


def test_an_entry_without_its_metadata_file_is_replaced(original: Settings) -> None:
    backup = original.home / "catalog.backup"
    shutil.copy(str(original.catalog.embedded_database), backup)
    before = Path(urlsplit(load_table(open_catalog(original), TRADES).metadata_location).path)
    load(original, SECOND)
    shutil.copy(backup, str(original.catalog.embedded_database))
    before.unlink()
    assert register_tables(original, open_catalog(original), replace=True) == [str(TRADES)]
    assert len(stored_trades(original)) == 2


def test_ambiguous_files_are_not_registered(original: Settings) -> None:
    folder = original.home / "warehouse" / NAMESPACE / TRADES.name / "metadata"
    newest = max(folder.glob("*.metadata.json"))
    shutil.copy(newest, newest.with_name("00001-0a.metadata.json"))
    Path(str(original.catalog.embedded_database)).unlink()
    with pytest.raises(OhlcvError, match=r"contains 2 metadata files of the newest version .*: move all but one"):
        register_tables(original, open_catalog(original), replace=False)


def test_files_of_another_table_do_not_replace_an_entry(original: Settings, tmp_path: Path) -> None:
    other = home_settings(tmp_path / "other")
    create_tables(other)
    for trade in range(3):
        load(other, f"x,BTC-USD,{NOON},1,1,{trade}")
    source = max((other.home / "warehouse" / NAMESPACE / TRADES.name / "metadata").glob("*.metadata.json"))
    shutil.copy(source, original.home / "warehouse" / NAMESPACE / TRADES.name / "metadata")
    with pytest.raises(OhlcvError, match="belongs to another table than the catalog's"):
        register_tables(original, open_catalog(original), replace=True)
