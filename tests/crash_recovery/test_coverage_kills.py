"""Recordings of the coverage killed with SIGKILL at every step, two at once, and lost replies of a PostgreSQL catalog.

Afterwards the coverage has the rows of a recording that was never interrupted.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from ohlcv.config.settings import load_settings
from ohlcv.demo.local_postgres import PostgresServer, postgres_server
from ohlcv.iceberg.tables import create_tables
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.model.errors import OhlcvError
from support.coverage_site import HOUR, NOW, CoverageSite, delivery
from support.databases import catalog_environment, new_database
from support.dropping_proxy import DroppingProxy
from support.lock_users import count_file_users, lock_sessions
from support.processes import wait_for
from support.stopping_process import StopPoint, finish, kill_at_point, started

# pyiceberg does not close the connections of its catalogs. The garbage collector does.
pytestmark = [
    pytest.mark.crash_recovery,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

PROGRAM = """
from datetime import datetime

from ohlcv.config.settings import load_settings
from ohlcv.coverage.recording import record_coverage

record_coverage(load_settings(), datetime.fromisoformat(*arguments))
"""
POINTS = {
    "before the files are planned": StopPoint("ohlcv.coverage.recording.plan_files", "before"),
    "before an hour is counted": StopPoint("ohlcv.coverage.recording.count_hours", "before"),
    "after hours were counted": StopPoint("ohlcv.coverage.recording.count_hours", "after"),
    "between two data files": StopPoint("ohlcv.iceberg.file_commits._partition_key", "after"),
    "before the commit": StopPoint("pyiceberg.catalog.sql.SqlCatalog.commit_table", "before"),
    "after the commit": StopPoint("pyiceberg.catalog.sql.SqlCatalog.commit_table", "after", is_stored=True),
}
ARGUMENTS = (NOW.isoformat(),)


def site_of(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> CoverageSite:
    """Return a site with a recorded hour, and others that have changed, appeared and disappeared since."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(environment)
    create_tables(settings)
    site = CoverageSite(settings)
    site.deliver(delivery(1), delivery(1, hour=HOUR - 1))
    site.record()
    site.assert_recorded()
    site.deliver(delivery(1), delivery(2, "2", price=0), delivery(hour=HOUR - 24))
    site.delete(HOUR - 1)
    return site


def close(site: CoverageSite) -> None:
    """Close the connections of the catalog."""
    assert isinstance(site.catalog, SqlCatalog)
    site.catalog.engine.dispose()
    gc.collect()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres_server(tmp_path_factory.mktemp("postgres"), volatile=True) as running:
        yield running


@pytest.mark.parametrize("catalog", ["sqlite", "postgresql"])
@pytest.mark.parametrize("name", POINTS)
def test_a_recording_that_was_killed_is_completed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, name: str, catalog: str
) -> None:
    environment = {"OHLCV_HOME": str(tmp_path / "home")}
    if catalog == "postgresql":
        server = request.getfixturevalue("server")
        environment |= catalog_environment(server, new_database(server))
    site = site_of(environment, monkeypatch)
    before = site.rows(), site.properties()
    point, marker = POINTS[name], tmp_path / "reached"
    with started(PROGRAM, ARGUMENTS, point, marker) as process:
        kill_at_point(process, marker)
    assert ((site.rows(), site.properties()) == before) == (not point.is_stored)
    assert site.record().hours == (0 if point.is_stored else 3)
    site.assert_recorded()
    close(site)


@pytest.mark.parametrize("catalog", ["sqlite", "postgresql"])
def test_of_two_recordings_at_once_one_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, catalog: str
) -> None:
    environment = {"OHLCV_HOME": str(tmp_path / "home")}
    server = database = None
    if catalog == "postgresql":
        server = request.getfixturevalue("server")
        database = new_database(server)
        environment |= catalog_environment(server, database)
    site = site_of(environment, monkeypatch)
    snapshots = len(site.coverage_table().snapshots())
    with ExitStack() as stack:
        with write_lock(site.settings, site.settings.coverage_contract):
            processes = [stack.enter_context(started(PROGRAM, ARGUMENTS)) for _ in range(2)]
            pids = [process.pid for process in processes]

            def waiting() -> int:
                if server is None or database is None:
                    return count_file_users(pids, tmp_path / "home", "gold_ohlcv_coverage")
                return len(lock_sessions(server, database, "gold_ohlcv_coverage")) - 1  # one is that of the test

            wait_for(lambda: waiting() == 2, "both recordings wait for the lock")
        for process in processes:
            finish(process)
    assert len(site.coverage_table().snapshots()) == snapshots + 1
    site.assert_recorded()
    assert site.record().hours == 0
    close(site)


@pytest.mark.parametrize("refuse_connections", [False, True], ids=["answers again", "refuses connections"])
def test_a_commit_whose_reply_is_lost_is_stored_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: PostgresServer, *, refuse_connections: bool
) -> None:
    commit = SqlCatalog.commit_table
    with DroppingProxy(server.port) as proxy:
        environment = catalog_environment(server, new_database(server), proxy.port)
        site = site_of({"OHLCV_HOME": str(tmp_path / "home"), **environment}, monkeypatch)

        def armed(*arguments: Any) -> Any:
            monkeypatch.setattr(SqlCatalog, "commit_table", commit)
            proxy.arm(b"COMMIT", tag=b"COMMIT", refuse_connections=refuse_connections)
            return commit(*arguments)

        monkeypatch.setattr(SqlCatalog, "commit_table", armed)
        if refuse_connections:
            with pytest.raises(OhlcvError) as caught:
                site.record()
            assert "\n" not in str(caught.value)
            proxy.accept()
        else:
            assert site.record().hours == 3
        assert proxy.dropped == 1
        snapshots = len(site.coverage_table().snapshots())
        site.assert_recorded()
        assert site.record().hours == 0
        assert len(site.coverage_table().snapshots()) == snapshots
        close(site)
