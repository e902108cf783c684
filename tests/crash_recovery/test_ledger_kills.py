"""Recordings of the ledger killed with SIGKILL at every step, two at once, and lost replies of a PostgreSQL catalog:
afterwards the ledger has the rows of one that was never interrupted.
"""

from __future__ import annotations

import gc
import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from ohlcv.config.settings import load_settings
from ohlcv.demo.local_postgres import PostgresServer, postgres_server
from ohlcv.iceberg.tables import create_tables
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.model.errors import OhlcvError
from ohlcv.readers.point_in_time import read_past_candles
from support.audited_tables import add_trades, built, trade
from support.candle_rows import MINUTE, Row
from support.command_line import OHLCV
from support.databases import catalog_environment, new_database
from support.dropping_proxy import DroppingProxy
from support.ledger import seen
from support.ledger_site import LedgerSite
from support.lock_users import count_file_users, lock_sessions
from support.processes import WAIT_SECONDS, wait_for

# pyiceberg does not close the connections of its catalogs. The garbage collector does.
pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")

REVISIONS, PUBLICATIONS = "gold_ohlcv_revisions", "gold_ohlcv_publications"
# Publications that are recorded before a test, and those that it records, in batches of two.
RECORDED, WAITING = 2, 6

# Python imports this module when it starts. It stops a recording in its second batch.
SITE_CUSTOMIZE = """
import sys

if "ledger" in sys.orig_argv and "record" in sys.orig_argv:
    import time
    from pathlib import Path

    import ohlcv.ledger.recording as recording
    import {module} as module

    recording.BATCH_PUBLICATIONS = 2
    original = module.{function}
    calls = []

    def wait_forever():
        Path({marker!r}).touch()
        while True:
            time.sleep(60)

    def replacement(*arguments, **options):
        calls.append(arguments)
        if len(calls) == {call} and not {after}:
            wait_forever()
        result = original(*arguments, **options)
        if len(calls) == {call} and {after}:
            wait_forever()
        return result

    module.{function} = replacement
"""


@dataclass(frozen=True)
class Point:
    """The call of a function before or after which the process is killed."""

    module: str
    function: str
    call: int
    after: bool = False
    # Publications that are recorded then, and whether there are revisions of later ones.
    recorded: int = RECORDED + 2
    has_later_revisions: bool = False


_CATALOG = ("pyiceberg.catalog.sql", "SqlCatalog.commit_table")
# The second batch has the third and the fourth commit. Revisions of two months are in two files.
POINTS = {
    "before the comparison": Point("ohlcv.ledger.recording", "_Recorder._compare", 3),
    "before the causes": Point("ohlcv.ledger.recording", "store_causes", 2),
    "between two data files": Point("ohlcv.iceberg.file_commits", "_partition_key", 5),
    "before the commit of the revisions": Point(*_CATALOG, 3),
    "after the commit of the revisions": Point(*_CATALOG, 3, after=True, has_later_revisions=True),
    "before the commit of the publications": Point(*_CATALOG, 4, has_later_revisions=True),
    "after the commit of the publications": Point(*_CATALOG, 4, after=True, recorded=RECORDED + 4),
}
# The others are in the lane: each starts a process.
QUICK = ("after the commit of the revisions",)


@dataclass(frozen=True)
class Scenario:
    """A candle table with publications that are not recorded, and the rows of a recording without a fault."""

    site: LedgerSite
    expected: list[Any]
    # Moments, and what a reader saw then.
    seen: list[tuple[datetime, Counter[tuple[Any, ...]]]]

    def close(self) -> None:
        """Close the connections of the catalogs."""
        assert isinstance(self.site.catalog, SqlCatalog)
        self.site.catalog.engine.dispose()
        gc.collect()

    def start(self) -> subprocess.Popen[str]:
        command = [str(OHLCV), "ledger", "record", "--timeframe", "1m", "--format", "json"]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def ledger(self) -> list[Any]:
        return [self.site.publications(), self.site.revisions()]

    def assert_complete(self) -> None:
        assert self.ledger() == self.expected
        assert self.site.record().publications == 0
        assert self.ledger() == self.expected

    def assert_readable(self) -> None:
        """Assert that the past reads as it was seen, whatever a recording has left."""
        for moment, rows in self.seen:
            assert seen(read_past_candles(self.site.settings, MINUTE, as_of=moment).to_pylist()) == rows, moment


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres_server(tmp_path_factory.mktemp("postgres"), volatile=True) as running:
        yield running


def scenario_of(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Scenario:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(environment)
    create_tables(settings)
    site = LedgerSite(settings)
    # The candles of the second month are the same in every publication but the first.
    march, april = "2026-03-01T12:00", "2026-04-01T12:00"
    observed = []

    def build(price: int, *candles: Row, delete: tuple[Row, ...] = ()) -> int:
        trades = add_trades(settings, trade("2026-03-01T12:00:01", str(price)), trade(f"{april}:01", str(price)))
        changed = [built(MINUTE, march, str(price)), built(MINUTE, april, str(price))]
        snapshot = site.build(*changed, *candles, delete=delete, trades=trades)
        observe()
        return snapshot

    def observe() -> None:
        observed.append((datetime.now(UTC), seen(site.rows)))

    first = build(1)
    site.record()
    build(2)
    site.record()
    begin = [(table, table.current_snapshot()) for table in (site.publications_table(), site.revisions_table())]
    # Updates, insertions, a deletion, a rollback, and a repetition of what it undid.
    build(3, built(MINUTE, "2026-03-01T12:01"))
    build(4, built(MINUTE, "2026-03-01T12:02", "7", symbol="ETH"))
    (row,) = [row for row in site.rows if row["symbol"] == "ETH"]
    build(5, delete=(row,))
    site.roll_back(first)
    observe()
    build(6, built(MINUTE, "2026-03-01T12:01", "9"))
    build(7)
    assert site.record().publications == WAITING
    publications, revisions = site.publications(), site.revisions()
    assert len(publications) == RECORDED + WAITING
    assert len({row["publication"] for row in revisions}) == RECORDED + WAITING - 1
    # Undo the recording.
    for table, snapshot in begin:
        assert snapshot is not None
        table.refresh().manage_snapshots().set_current_snapshot(snapshot_id=snapshot.snapshot_id).commit()
    assert len(site.publications()) == RECORDED
    return Scenario(site, [publications, revisions], observed)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.crash_recovery)])
def scenario(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Scenario, Callable[[list[int]], int]]]:
    """Yield a scenario, and a function that counts the processes which hold the lock of the ledger or wait for it."""
    environment = {"OHLCV_HOME": str(tmp_path / "home")}
    if request.param == "sqlite":

        def count_lock_users(pids: list[int]) -> int:
            return count_file_users(pids, tmp_path / "home", REVISIONS)
    else:
        server: PostgresServer = request.getfixturevalue("server")
        database = new_database(server)
        environment |= catalog_environment(server, database)

        def count_lock_users(pids: list[int]) -> int:
            return len(lock_sessions(server, database, REVISIONS)) - 1  # one is that of the test

    found = scenario_of(environment, monkeypatch)
    yield found, count_lock_users
    found.close()


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.crash_recovery) for name in POINTS]
)
def test_a_recording_that_was_killed_is_completed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    found = scenario_of({"OHLCV_HOME": str(tmp_path / "home")}, monkeypatch)
    point, marker, folder = POINTS[name], tmp_path / "reached", tmp_path / "customized"
    folder.mkdir()
    text = SITE_CUSTOMIZE.format(
        module=point.module, function=point.function, call=point.call, after=point.after, marker=str(marker)
    )
    (folder / "sitecustomize.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    with ended(found.start()) as process:
        wait_for(lambda: marker.exists() or process.poll() is not None, "the recording reaches the point")
        assert process.poll() is None, process.communicate()
        process.kill()
        process.wait(WAIT_SECONDS)
    publications, revisions = found.ledger()
    assert len(publications) == point.recorded
    assert any(row["publication"] > point.recorded for row in revisions) == point.has_later_revisions
    found.assert_readable()
    monkeypatch.delenv("PYTHONPATH")
    with ended(found.start()) as process:
        output, log = process.communicate(timeout=WAIT_SECONDS)
        assert process.returncode == 0, log
    assert json.loads(output)["publications"] == RECORDED + WAITING - point.recorded
    found.assert_complete()
    found.assert_readable()


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Yield a process, and end it at the end of the block."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_two_recordings_at_once_record_each_publication_once(
    scenario: tuple[Scenario, Callable[[list[int]], int]],
) -> None:
    found, count_lock_users = scenario
    settings = found.site.settings
    with write_lock(settings, settings.revisions_contract):
        processes = [found.start() for _ in range(2)]
        pids = [process.pid for process in processes]
        wait_for(lambda: count_lock_users(pids) == 2, "both recordings wait for the lock")
    results = []
    for process in processes:
        with ended(process):
            results.append(process.communicate(timeout=WAIT_SECONDS))
            assert process.returncode == 0, results[-1]
    assert sorted(json.loads(output)["publications"] for output, _ in results) == [0, WAITING]
    found.assert_complete()
    found.assert_readable()


@dataclass(frozen=True)
class Proxied:
    """A scenario on PostgreSQL whose catalog is reached through a proxy."""

    scenario: Scenario
    proxy: DroppingProxy


@pytest.fixture
def proxied(server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxied]:
    with DroppingProxy(server.port) as proxy:
        environment = catalog_environment(server, new_database(server), proxy.port)
        found = scenario_of({"OHLCV_HOME": str(tmp_path / "home"), **environment}, monkeypatch)
        yield Proxied(found, proxy)
        found.close()


def lose_reply(proxied: Proxied, table: str, monkeypatch: pytest.MonkeyPatch, *, refuse_connections: bool) -> None:
    """Lose the reply of the next commit to a table."""
    commit = SqlCatalog.commit_table

    def armed(catalog: SqlCatalog, target: Table, *arguments: Any) -> Any:
        if target.name()[-1] == table:
            monkeypatch.setattr(SqlCatalog, "commit_table", commit)
            proxied.proxy.arm(b"COMMIT", tag=b"COMMIT", refuse_connections=refuse_connections)
        return commit(catalog, target, *arguments)

    monkeypatch.setattr(SqlCatalog, "commit_table", armed)


@pytest.mark.crash_recovery
@pytest.mark.parametrize("table", [REVISIONS, PUBLICATIONS])
def test_a_recording_finds_its_commit_after_a_lost_reply(
    proxied: Proxied, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    lose_reply(proxied, table, monkeypatch, refuse_connections=False)
    assert proxied.scenario.site.record().publications == WAITING
    assert proxied.proxy.dropped == 1
    proxied.scenario.assert_complete()


@pytest.mark.crash_recovery
@pytest.mark.parametrize(("table", "remaining"), [(REVISIONS, WAITING), (PUBLICATIONS, 0)])
def test_a_recording_that_cannot_ask_for_its_commit_fails_and_the_next_completes_it(
    proxied: Proxied, monkeypatch: pytest.MonkeyPatch, table: str, remaining: int
) -> None:
    found = proxied.scenario
    lose_reply(proxied, table, monkeypatch, refuse_connections=True)
    with pytest.raises(OhlcvError) as caught:
        found.site.record()
    assert "\n" not in str(caught.value)
    assert proxied.proxy.dropped == 1
    proxied.proxy.accept()
    found.assert_readable()
    assert found.site.record().publications == remaining
    found.assert_complete()
