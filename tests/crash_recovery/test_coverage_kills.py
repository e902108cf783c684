"""Recordings of the coverage killed with SIGKILL at every step, two at once, and lost replies of a PostgreSQL catalog.

Afterwards the coverage has the rows of a recording that was never interrupted.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
from support.processes import WAIT_SECONDS, wait_for

# pyiceberg does not close the connections of its catalogs. The garbage collector does.
pytestmark = [
    pytest.mark.crash_recovery,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

# A recording that stops before or after the first call of a function, if it is given one.
PROGRAM = """
import sys
import time
from datetime import datetime
from pathlib import Path
from pkgutil import resolve_name

from ohlcv.config.settings import load_settings
from ohlcv.coverage.recording import record_coverage

now, function, moment, marker = sys.argv[1:]

def wait_forever():
    Path(marker).touch()
    while True:
        time.sleep(60)

def replacement(*arguments, **options):
    if moment == "before":
        wait_forever()
    original(*arguments, **options)
    wait_forever()

if function:
    owner, _, name = function.rpartition(".")
    original = getattr(resolve_name(owner), name)
    setattr(resolve_name(owner), name, replacement)
record_coverage(load_settings(), datetime.fromisoformat(now))
"""
# Functions, before or after which the process is killed, and whether the recording is stored then.
POINTS = {
    "before the files are planned": ("ohlcv.coverage.recording.plan_files", "before", False),
    "before an hour is counted": ("ohlcv.coverage.recording.count_hours", "before", False),
    "after hours were counted": ("ohlcv.coverage.recording.count_hours", "after", False),
    "between two data files": ("ohlcv.iceberg.file_commits._partition_key", "after", False),
    "before the commit": ("pyiceberg.catalog.sql.SqlCatalog.commit_table", "before", False),
    "after the commit": ("pyiceberg.catalog.sql.SqlCatalog.commit_table", "after", True),
}


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


@contextmanager
def started(function: str = "", moment: str = "", marker: Path = Path()) -> Iterator[subprocess.Popen[str]]:
    """Start a recording, and end it at the end of the block."""
    command = [sys.executable, "-c", PROGRAM, NOW.isoformat(), function, moment, str(marker)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


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
    function, moment, is_stored = POINTS[name]
    marker = tmp_path / "reached"
    with started(function, moment, marker) as process:
        wait_for(lambda: marker.exists() or process.poll() is not None, "the recording reaches the point")
        assert process.poll() is None, process.communicate()
        process.kill()
        process.wait(WAIT_SECONDS)
    assert ((site.rows(), site.properties()) == before) == (not is_stored)
    assert site.record().hours == (0 if is_stored else 3)
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
            processes = [stack.enter_context(started()) for _ in range(2)]
            pids = [process.pid for process in processes]

            def waiting() -> int:
                if server is None or database is None:
                    return count_file_users(pids, tmp_path / "home", "gold_ohlcv_coverage")
                return len(lock_sessions(server, database, "gold_ohlcv_coverage")) - 1  # one is that of the test

            wait_for(lambda: waiting() == 2, "both recordings wait for the lock")
        for process in processes:
            _, log = process.communicate(timeout=WAIT_SECONDS)
            assert process.returncode == 0, log
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
