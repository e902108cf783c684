"""Reconciliations killed with SIGKILL at every step, and two at once.

Afterwards the table has the results of a reconciliation that was never interrupted.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from pyiceberg.table import Table

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.iceberg.write_lock import write_lock
from support.candle_rows import HOUR, write_candles
from support.lock_users import count_file_users
from support.processes import wait_for
from support.published_candles import FETCHED, NOW, random_candles, write_file
from support.stopping_process import StopPoint, finish, kill_at_point, started

# pyiceberg does not close the connections of its catalogs. The garbage collector does.
pytestmark = [
    pytest.mark.crash_recovery,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

PROGRAM = """
from datetime import datetime

from ohlcv.config.settings import load_settings
from ohlcv.model.timeframes import get_timeframe
from ohlcv.reconciliation.reconcile import Request, reconcile

file, now, fetched_at = arguments
fetched = datetime.fromisoformat(fetched_at)
request = Request("generic", "X", "BTC", get_timeframe("1h"), fetched_at=fetched)
reconcile(load_settings(), [Path(file)], request, datetime.fromisoformat(now))
"""
POINTS = {
    "before the comparison": StopPoint("ohlcv.reconciliation.reconcile.compare_candles", "before"),
    "after a data file": StopPoint("ohlcv.iceberg.file_commits._partition_key", "after"),
    "before the commit": StopPoint("pyiceberg.catalog.sql.SqlCatalog.commit_table", "before"),
    "after the commit": StopPoint("pyiceberg.catalog.sql.SqlCatalog.commit_table", "after", is_stored=True),
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


def arguments(folder: Path) -> list[str]:
    return [str(folder / "candles"), NOW.isoformat(), FETCHED.isoformat()]


def table(settings: Settings) -> Table:
    return load_table(open_catalog(settings), settings.reconciliation_contract)


def outcomes(settings: Settings) -> list[str]:
    rows = sorted(table(settings).scan().to_arrow().to_pylist(), key=lambda row: row["window_start"])
    return [row["result"] for row in rows]


@pytest.mark.parametrize("name", POINTS)
def test_a_reconciliation_that_was_killed_is_completed_by_the_next(
    settings: Settings, tmp_path: Path, name: str
) -> None:
    point, marker = POINTS[name], tmp_path / "reached"
    with started(PROGRAM, arguments(tmp_path), point, marker) as process:
        kill_at_point(process, marker)
    assert outcomes(settings) == (["equal", "equal", "different"] if point.is_stored else [])
    with started(PROGRAM, arguments(tmp_path)) as process:
        finish(process)
    assert outcomes(settings) == ["equal", "equal", "different"]
    assert len(table(settings).snapshots()) == 1


def test_of_two_reconciliations_at_once_one_commits(settings: Settings, tmp_path: Path) -> None:
    with ExitStack() as stack:
        with write_lock(settings, settings.reconciliation_contract):
            processes = [stack.enter_context(started(PROGRAM, arguments(tmp_path))) for _ in range(2)]
            pids = [process.pid for process in processes]
            wait_for(
                lambda: count_file_users(pids, tmp_path / "home", "gold_ohlcv_reconciliation") == 2,
                "both reconciliations wait for the lock",
            )
        for process in processes:
            finish(process)
    assert outcomes(settings) == ["equal", "equal", "different"]
    assert len(table(settings).snapshots()) == 1
