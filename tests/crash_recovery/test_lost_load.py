"""Lost replies of a PostgreSQL catalog while trades are loaded: the load fails, and loading again adds nothing."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow.parquet as pq
import pytest
from pyiceberg.table import Table

from ohlcv.config.settings import Settings, load_settings
from ohlcv.demo.local_postgres import postgres_server
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.ingest.loader import load_trades
from ohlcv.model.errors import OhlcvError
from support.databases import catalog_environment, new_database
from support.dropping_proxy import DroppingProxy
from support.trade_files import NOON, write_generic

pytestmark = [
    pytest.mark.crash_recovery,
    # pyiceberg does not close the connections of its catalogs. The garbage collector does.
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

MINUTE = 60_000_000


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[tuple[Settings, DroppingProxy]]:
    """Yield settings of a catalog with some trades behind a proxy."""
    with postgres_server(tmp_path / "postgres", volatile=True) as server, DroppingProxy(server.port) as proxy:
        environment = catalog_environment(server, new_database(server), proxy.port)
        settings = load_settings({"OHLCV_HOME": str(tmp_path / "home"), **environment})
        create_tables(settings)
        load_trades(settings, [file_of(tmp_path, 0)])
        yield settings, proxy
        gc.collect()


def file_of(folder: Path, minute: int) -> Path:
    """Write a file with three trades of a minute."""
    time = NOON + minute * MINUTE
    return write_generic(folder, *(f"t{minute}-{number},BTC-USD,{time},1,1,{number}" for number in range(3)))


@pytest.mark.parametrize("refuse_connections", [False, True], ids=["one reply", "then no connection"])
def test_a_load_whose_reply_is_lost_fails_and_a_repeated_load_adds_nothing(
    proxied: tuple[Settings, DroppingProxy], tmp_path: Path, refuse_connections: bool
) -> None:
    settings, proxy = proxied
    file = file_of(tmp_path, 1)
    proxy.arm(b"COMMIT", tag=b"COMMIT", refuse_connections=refuse_connections)
    with pytest.raises(OhlcvError) as error:
        load_trades(settings, [file])
    assert proxy.dropped == 1
    assert "\n" not in str(error.value)
    assert "load again (no trade is loaded twice)" in str(error.value)
    proxy.accept()
    proxy.disarm()
    # The commit has succeeded: all its files exist.
    assert read_files(trades_table(settings)) == 6
    report = load_trades(settings, [file])
    assert (report.loaded, report.already_there) == (0, 3)
    assert read_files(trades_table(settings)) == 6


def trades_table(settings: Settings) -> Table:
    return load_table(open_catalog(settings), settings.trades_contract)


def read_files(table: Table) -> int:
    """Read all files of the current snapshot completely and return the number of rows."""
    paths = [Path(unquote(urlsplit(task.file.file_path).path)) for task in table.scan().plan_files()]
    return sum(len(pq.read_table(path, page_checksum_verification=True)) for path in paths)
