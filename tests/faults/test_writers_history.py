"""Concurrent writers of one candle table, whose recorded operations must have a serial explanation."""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyspark.sql import SparkSession

from ohlcv.demo.local_postgres import PostgresServer
from ohlcv.iceberg.write_lock import AssertLockHeld, write_lock
from ohlcv.model.intervals import to_microseconds
from spark_jobs.iceberg import candle_writer, staging
from spark_jobs.jobs import build_candles, publication, rebuild, reprocess_day
from spark_jobs.runtime import job_runner
from support.audits import candidate_branches
from support.concurrent_writers import (
    END,
    FIRST_DAY,
    FOREIGN,
    MINUTE_US,
    PAUSE_SECONDS,
    Recorder,
    Writer,
    build_all,
    read_rows,
    states_of,
    with_trades,
)
from support.databases import catalog_environment, new_database
from support.operation_history import History
from support.poolers import pooler
from support.processes import QUICK_JAVA
from support.reference_model import reference_candles

# pyiceberg does not close the connections of its catalogs. The garbage collector does.
pytestmark = [
    pytest.mark.faults,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Delete operation did not match any records"),
]

SEED = int(os.environ.get("SEED") or 1)
# What a writer does after its first operation, and how often.
WEIGHTS = {
    "build": 4,
    "scheduled run": 6,
    "submitted run": 1,
    "reprocessing": 3,
    "retention": 2,
    "compaction": 2,
    "expiry": 1,
    "foreign append": 3,
    "killed foreign append": 1,
    "foreign delete": 1,
    "foreign overwrite": 1,
    "read": 2,
}
FIRST_KINDS = ("build", "scheduled run", "reprocessing")
OPERATIONS = 3
LOADS = 4
WAIT_SECONDS = 600.0


@pytest.fixture
def pooler_port(server: PostgresServer, tmp_path: Path) -> Iterator[int]:
    """Return the port of PgBouncer in transaction mode."""
    with pooler(server, tmp_path / "pooler", "transaction") as running:
        yield running.port


@contextmanager
def no_lock(*_: object) -> Iterator[AssertLockHeld]:
    """Stand for a lock that is lost right after each check."""
    yield lambda: None


def widen_races(monkeypatch: pytest.MonkeyPatch, recorder: Recorder, seed: int) -> None:
    """Let operations pause, until another one ends, between their steps: before and after each check of the lock."""
    chosen = random.Random(seed)

    def pause() -> None:
        if chosen.random() < 0.4:
            recorder.await_another(PAUSE_SECONDS)

    def pausing(function: Callable[..., Any]) -> Callable[..., Any]:
        def paused(*arguments: Any, **options: Any) -> Any:
            pause()
            return function(*arguments, **options)

        return paused

    publish = staging.publish

    def publish_later(table: Any, candidate: int, branches: Any, assert_lock_held: AssertLockHeld) -> None:
        def check() -> None:
            assert_lock_held()
            pause()

        publish(table, candidate, branches, check)

    # After the trades are read; after the check of the lock, before Spark writes; after it has written; after the
    # second check of the lock; before another client commits.
    monkeypatch.setattr(build_candles, "rebuild", pausing(rebuild.rebuild))
    monkeypatch.setattr(candle_writer, "writing_to", pausing(staging.writing_to))
    monkeypatch.setattr(publication, "_audit", pausing(publication._audit))
    monkeypatch.setattr(staging, "publish", publish_later)
    monkeypatch.setattr(SqlCatalog, "commit_table", pausing(SqlCatalog.commit_table))


def run_writers(create: Callable[[], Writer], recorder: Recorder, seed: int, count: int) -> None:
    """Run the writers and a loader of trades, each in a thread, from the same moment on."""
    barrier = threading.Barrier(count + 1)
    errors: list[BaseException] = []

    def writing(number: int) -> None:
        chosen = random.Random(seed * 100 + number)
        kinds = chosen.choices(list(WEIGHTS), list(WEIGHTS.values()), k=OPERATIONS - 1)
        writer = create()
        barrier.wait()
        for step, kind in enumerate([chosen.choice(FIRST_KINDS), *kinds]):
            writer.run(f"{seed}-{number}-{step}", kind)

    def loading() -> None:
        writer = create()
        writer.run(f"{seed}-load-first", "load")
        barrier.wait()
        for step in range(LOADS):
            recorder.await_another(PAUSE_SECONDS)
            writer.run(f"{seed}-load-{step}", "load")

    def caught(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    works = [loading, *(lambda number=number: writing(number) for number in range(count))]
    threads = [threading.Thread(target=caught, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise BaseExceptionGroup("writers failed", errors)


@pytest.mark.parametrize(
    ("catalog", "writers", "lock"),
    [
        ("sqlite", 2, "lock"),
        ("sqlite", 4, "lost lock"),
        ("sqlite", 8, "lock"),
        ("sqlite", 8, "lost lock"),
        ("postgresql", 2, "lost lock"),
        ("postgresql", 4, "lock"),
        ("postgresql", 8, "lock"),
        ("postgresql", 8, "lost lock"),
        ("pooler", 4, "lock"),
    ],
)
def test_concurrent_writers_have_a_serial_explanation(
    request: pytest.FixtureRequest,
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    catalog: str,
    writers: int,
    lock: str,
) -> None:
    """From the first insert on. The history begins with an empty table and ends with all candles correct."""
    environment = {"OHLCV_HOME": str(tmp_path / "home"), "OHLCV_AUDIT": "after" if writers == 4 else "before"}
    (tmp_path / "home").mkdir()
    if catalog != "sqlite":
        server: PostgresServer = request.getfixturevalue("server")
        port = request.getfixturevalue("pooler_port") if catalog == "pooler" else None
        environment |= catalog_environment(server, new_database(server), port)
    for name, value in (*environment.items(), QUICK_JAVA):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(job_runner, "PAUSE_SECONDS", 0.1)
    # On a busy machine a job of eight writers waits longer than the jobs of a schedule do.
    function = no_lock if lock == "lost lock" else partial(write_lock, wait_seconds=WAIT_SECONDS)
    for module in (build_candles, reprocess_day):
        monkeypatch.setattr(module, "write_lock", function)
    recorder = Recorder()
    seed = SEED * 10 + writers

    def create() -> Writer:
        return Writer(spark, tmp_path / "home", environment, recorder)

    last = create()
    with monkeypatch.context() as patch:
        widen_races(patch, recorder, seed)
        run_writers(create, recorder, seed, writers)
    last.harness.activate()
    last.run("last", "build", build_all)
    last.run("last-read", "read")

    table = last.harness.table("1m")
    operations = with_trades(recorder.operations, last.harness.table(), recorder.loads)
    history = History(operations, states_of(table))
    sys.stdout.write(f"SEED={SEED}: {catalog}, {writers} writers, {lock}: {history.summary()}\n")
    for each in operations:
        if each.outcome == "failed":
            sys.stdout.write(f"  {each}: {each.error[:200]}\n")
    assert history.problems() == [], f"repeat with: make test-faults SEED={SEED}"

    trades = [each for load in recorder.loads.values() for each in load]
    span = (to_microseconds(FIRST_DAY), to_microseconds(END))
    own = Counter({each: n for each, n in read_rows(table).items() if not each.symbol.startswith(FOREIGN)})
    assert own == Counter(reference_candles(trades, MINUTE_US, [span]).candles.values())
    assert candidate_branches(table) == []
    gc.collect()
