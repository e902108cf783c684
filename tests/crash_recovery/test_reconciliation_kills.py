"""Reconciliations killed with SIGKILL at every step, and two at once.

Afterwards the table has the results of a reconciliation that was never interrupted.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pyiceberg.table import Table

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.iceberg.write_lock import write_lock
from support.candle_rows import HOUR, write_candles
from support.lock_users import count_file_users
from support.processes import WAIT_SECONDS, wait_for
from support.published_candles import FETCHED, NOW, random_candles, write_file

# pyiceberg does not close the connections of its catalogs. The garbage collector does.
pytestmark = [
    pytest.mark.crash_recovery,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

# A reconciliation that stops before or after the first call of a function, if it is given one.
PROGRAM = """
import sys
import time
from datetime import datetime
from pathlib import Path
from pkgutil import resolve_name

from ohlcv.config.settings import load_settings
from ohlcv.model.timeframes import get_timeframe
from ohlcv.reconciliation.reconcile import Request, reconcile

file, now, fetched_at, function, moment, marker = sys.argv[1:]

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
fetched = datetime.fromisoformat(fetched_at)
request = Request("generic", "X", "BTC", get_timeframe("1h"), fetched_at=fetched)
reconcile(load_settings(), [Path(file)], request, datetime.fromisoformat(now))
"""
# Functions, before or after which the process is killed, and whether the results are stored then.
POINTS = {
    "before the comparison": ("ohlcv.reconciliation.reconcile.compare_candles", "before", False),
    "after a data file": ("ohlcv.iceberg.file_commits._partition_key", "after", False),
    "before the commit": ("pyiceberg.catalog.sql.SqlCatalog.commit_table", "before", False),
    "after the commit": ("pyiceberg.catalog.sql.SqlCatalog.commit_table", "after", True),
}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings of a home with candles of ours and a file with one difference."""
    monkeypatch.setenv("OHLCV_HOME", str(tmp_path / "home"))
    settings = load_settings()
    create_tables(settings)
    ours = random_candles(1, 3, HOUR)
    write_candles(settings, HOUR, *(each.row(HOUR) for each in ours))
    write_file(tmp_path, "generic", [*ours[:2], replace(ours[2], close=ours[2].close + 1)], HOUR)
    return settings


@contextmanager
def started(folder: Path, function: str = "", moment: str = "") -> Iterator[subprocess.Popen[str]]:
    """Start a reconciliation, and end it at the end of the block."""
    texts = [str(folder / "candles"), NOW.isoformat(), FETCHED.isoformat(), function, moment, str(folder / "reached")]
    command = [sys.executable, "-c", PROGRAM, *texts]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: subprocess.Popen[str]) -> None:
    _, log = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0, log


def table(settings: Settings) -> Table:
    return load_table(open_catalog(settings), settings.reconciliation_contract)


def outcomes(settings: Settings) -> list[str]:
    rows = sorted(table(settings).scan().to_arrow().to_pylist(), key=lambda row: row["window_start"])
    return [row["result"] for row in rows]


@pytest.mark.parametrize("name", POINTS)
def test_a_reconciliation_that_was_killed_is_completed_by_the_next(
    settings: Settings, tmp_path: Path, name: str
) -> None:
    function, moment, is_stored = POINTS[name]
    marker = tmp_path / "reached"
    with started(tmp_path, function, moment) as process:
        wait_for(lambda: marker.exists() or process.poll() is not None, "the reconciliation reaches the point")
        assert process.poll() is None, process.communicate()
        process.kill()
        process.wait(WAIT_SECONDS)
    assert outcomes(settings) == (["equal", "equal", "different"] if is_stored else [])
    with started(tmp_path) as process:
        finish(process)
    assert outcomes(settings) == ["equal", "equal", "different"]
    assert len(table(settings).snapshots()) == 1


def test_of_two_reconciliations_at_once_one_commits(settings: Settings, tmp_path: Path) -> None:
    with ExitStack() as stack:
        with write_lock(settings, settings.reconciliation_contract):
            processes = [stack.enter_context(started(tmp_path)) for _ in range(2)]
            pids = [process.pid for process in processes]
            wait_for(
                lambda: count_file_users(pids, tmp_path / "home", "gold_ohlcv_reconciliation") == 2,
                "both reconciliations wait for the lock",
            )
        for process in processes:
            finish(process)
    assert outcomes(settings) == ["equal", "equal", "different"]
    assert len(table(settings).snapshots()) == 1
