"""Commit of a load: a failed attempt leaves no files, conflicts are retried with growing waits, errors are one line."""

from __future__ import annotations

import errno
import heapq
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitStateUnknownException
from pyiceberg.io.pyarrow import PyArrowFile
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from ohlcv.config.settings import Settings
from ohlcv.iceberg import file_commits
from ohlcv.iceberg.catalog_errors import describe_catalog_error
from ohlcv.ingest import commit
from ohlcv.ingest.commit import COMMIT_ATTEMPTS, conflict_wait, load_errors
from ohlcv.ingest.loader import LoadReport, load_trades
from ohlcv.model.errors import OhlcvError
from support.trade_files import HOUR, NOON, stored_trades, trades_table, write_generic


def row(trade: int) -> str:
    return f"x,BTC-USD,{NOON + trade * HOUR},1,1,{trade}"


def stored_files(settings: Settings) -> set[str]:
    """Return the URIs of all files of the trades table."""
    folder = Path(trades_table(settings).location().removeprefix("file://"))
    return {f"file://{path}" for path in folder.rglob("*") if path.is_file()}


def referenced_files(settings: Settings) -> set[str]:
    """Return the URIs of the files that the trades table uses."""
    table = trades_table(settings)
    found = {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
    for snapshot in table.snapshots():
        found.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            found.add(manifest.manifest_path)
            found.update(entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io))
    return found


def load(settings: Settings, folder: Path, *trades: int, **arguments: Any) -> LoadReport:
    return load_trades(settings, [write_generic(folder, *map(row, trades))], **arguments)


@contextmanager
def failing_files(monkeypatch: pytest.MonkeyPatch, suffix: str, after: int, error: BaseException) -> Iterator[None]:
    """Let the creation of files whose name ends with a suffix fail, after a number of them."""
    created = 0
    create = PyArrowFile.create

    def create_or_fail(file: PyArrowFile, overwrite: bool = False) -> Any:
        nonlocal created
        created += file.location.endswith(suffix)
        if file.location.endswith(suffix) and created > after:
            raise error
        return create(file, overwrite)

    with monkeypatch.context() as context:
        context.setattr(PyArrowFile, "create", create_or_fail)
        yield


@pytest.mark.parametrize(
    ("suffix", "after"), [(".parquet", 0), (".parquet", 2), ("-m0.avro", 0), (".avro", 1), (".metadata.json", 0)]
)
def test_a_full_disk_is_reported_and_the_files_of_the_load_are_removed(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, after: int
) -> None:
    load(settings, tmp_path, 1)
    error = OSError(errno.ENOSPC, "No space left on device")
    with (
        failing_files(monkeypatch, suffix, after, error),
        pytest.raises(OhlcvError, match=r"^no space left in file://.*: nothing was loaded, free space and load again$"),
    ):
        load(settings, tmp_path, 2, 3, 4, 5)
    assert stored_files(settings) == referenced_files(settings)
    assert load(settings, tmp_path, 2, 3, 4, 5).loaded == 4


def test_an_interrupted_load_leaves_no_files(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for suffix in (".parquet", ".metadata.json"):
        with failing_files(monkeypatch, suffix, 0, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
            load(settings, tmp_path, 1, 2)
        assert stored_files(settings) == referenced_files(settings)


def test_a_lost_conflict_leaves_no_files(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "FIRST_WAIT_SECONDS", 0.0)
    (tmp_path / "other").mkdir()

    def other_writer_commits_first(message: str) -> None:
        if message == "2 trades written" and len(stored_trades(settings)) == 0:
            load(settings, tmp_path / "other", 3)

    assert load(settings, tmp_path, 1, 2, progress=other_writer_commits_first).loaded == 2
    assert stored_files(settings) == referenced_files(settings)


def test_files_are_removed_if_the_catalog_refuses_the_commit(settings: Settings, tmp_path: Path) -> None:
    with sqlite3.connect(str(settings.catalog.embedded_database)) as database:
        database.execute("CREATE TRIGGER no BEFORE UPDATE ON iceberg_tables BEGIN SELECT RAISE(ABORT, 'refused'); END")
    with pytest.raises(OhlcvError, match="refused"):
        load(settings, tmp_path, 1)
    assert stored_files(settings) == referenced_files(settings)


@pytest.mark.parametrize("catalog_type", [SqlCatalog, RestCatalog])
def test_files_stay_if_the_commit_succeeded_or_may_have_succeeded(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalog_type: type
) -> None:
    commit_table = SqlCatalog.commit_table

    def lose_the_answer(*arguments: Any) -> Any:
        commit_table(*arguments)
        raise CommitStateUnknownException("no answer")

    monkeypatch.setattr(SqlCatalog, "commit_table", lose_the_answer)
    monkeypatch.setattr(file_commits, "SqlCatalog", catalog_type)
    with pytest.raises(OhlcvError, match=r"no answer.*then load again \(no trade is loaded twice\)"):
        load(settings, tmp_path, 1)
    assert [found["trade_id"] for found in stored_trades(settings)] == ["1"]
    assert load(settings, tmp_path, 1).already_there == 1


def test_files_that_the_file_system_refuses_are_removed(settings: Settings, tmp_path: Path) -> None:
    write_generic(tmp_path, *map(row, range(20)))
    # A real error in the middle of a data file.
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from ohlcv.config.settings import load_settings\n"
        "from ohlcv.ingest.loader import load_trades\n"
        "from ohlcv.model.errors import OhlcvError\n"
        "def limit(message):\n"
        "    if message.startswith('writing'): resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "try: load_trades(load_settings(), [Path(sys.argv[1])], progress=limit)\n"
        "except OhlcvError as error: print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "trades.csv"],
        # The limit would also cut the files of compiled modules.
        env={"OHLCV_HOME": str(settings.home), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.startswith("the trades table could not be written, nothing was loaded: "), result.stderr
    assert "File too large" in result.stdout
    assert stored_files(settings) == referenced_files(settings)


def test_a_full_disk_of_the_catalog_is_not_reported_as_an_address_problem(settings: Settings, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/full.db")
    with engine.connect() as connection:
        connection.execute(text("PRAGMA max_page_count = 2"))
        with pytest.raises(OperationalError) as raised:
            connection.execute(text("CREATE TABLE t AS SELECT zeroblob(100000)"))
    engine.dispose()
    message = describe_catalog_error(settings, raised.value)
    assert message == f"no space left in {settings.home} for the catalog: free space"


def test_an_error_while_reading_is_not_reported_as_one_while_writing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_to_read(*_: Any) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("ohlcv.ingest.loader.drop_already_loaded", fail_to_read)
    with pytest.raises(OhlcvError, match=r"trades table could not be read, nothing was loaded: .*ohlcv doctor"):
        load(settings, tmp_path, 1, 2)
    with pytest.raises(OhlcvError, match="could not be written"), load_errors(settings, "written"):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_the_waits_after_conflicts_grow_and_end_within_five_minutes() -> None:
    for seed in range(20):
        waits = [conflict_wait(attempt, Random(seed)) for attempt in range(1, COMMIT_ATTEMPTS)]
        assert 0.5 <= waits[0] <= 1
        assert waits == sorted(waits) or max(waits) > 12
        assert sum(waits) < 300
    assert len({conflict_wait(5, Random(seed)) for seed in range(20)}) == 20


@pytest.mark.parametrize("seconds", [0.2, 3, 30])
def test_twelve_concurrent_loads_all_commit(seconds: float) -> None:
    """Simulate twelve writers: an attempt fails if another one committed since it began."""
    for seed in range(100):
        random = Random(seed)
        attempts = [(seconds * random.uniform(0.9, 1.1), 0.0, 1) for _ in range(12)]
        heapq.heapify(attempts)
        last_commit = -1.0
        while attempts:
            end, begin, attempt = heapq.heappop(attempts)
            if begin > last_commit:
                last_commit = end
                continue
            assert attempt < COMMIT_ATTEMPTS
            begin = end + conflict_wait(attempt, random)
            heapq.heappush(attempts, (begin + seconds * random.uniform(0.9, 1.1), begin, attempt + 1))
