"""Wrong clocks of writers: a commit that would make a table unreadable is refused; such a table is restored."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.coverage.recording import record_coverage
from ohlcv.iceberg.commit_times import find_time_problem
from ohlcv.iceberg.tables import create_tables, load_table, load_table_to_write, open_catalog
from ohlcv.ingest.loader import load_trades
from ohlcv.integrity.restoration import find_restoration, restore
from ohlcv.model.errors import OhlcvError
from ohlcv.readers.latest import newest_trade
from support.audited_tables import add_trades, trade
from support.default_tables import TRADES
from support.trade_files import write_generic

FIRST, SECOND, THIRD = (trade(f"2026-03-01T12:0{n}") for n in range(3))
ROW = "kraken,SOL-USD,1772368200000000,5,1,77"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = load_settings({"OHLCV_HOME": str(tmp_path / "home")})
    create_tables(found)
    add_trades(found, FIRST)
    return found


@contextmanager
def clock(monkeypatch: pytest.MonkeyPatch, error: timedelta) -> Iterator[None]:
    """Let the clock of this machine be wrong, as pyiceberg reads it."""
    right = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: right() + error.total_seconds())
        yield


def problem_of(settings: Settings) -> str | None:
    return find_time_problem(load_table(open_catalog(settings), TRADES), str(TRADES))


def test_after_a_commit_of_a_clock_ahead_nothing_is_committed_and_the_line_names_the_remedy(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with clock(monkeypatch, timedelta(hours=2)):
        add_trades(settings, SECOND)
        assert problem_of(settings) is None
    file = write_generic(tmp_path, ROW)
    with pytest.raises(OhlcvError, match=r"gold_crypto_trades was changed at \S+Z, but the clock of this machine says"):
        load_trades(settings, [file])
    # Reading needs no clock.
    assert newest_trade(settings) == datetime(2026, 3, 1, 12, 1, tzinfo=UTC)
    with clock(monkeypatch, timedelta(hours=2)):
        assert load_trades(settings, [file]).loaded == 1


def test_a_machine_whose_clock_is_behind_commits_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_generic(tmp_path, ROW)
    with clock(monkeypatch, -timedelta(minutes=5)):
        with pytest.raises(OhlcvError, match="correct the wrong clock"):
            load_trades(settings, [file])
        with pytest.raises(OhlcvError, match="correct the wrong clock"):
            record_coverage(settings, datetime.now(UTC))
    with clock(monkeypatch, -timedelta(seconds=30)):
        assert load_trades(settings, [file]).loaded == 1
    assert problem_of(settings) is None


def test_a_table_with_commits_out_of_order_is_restored_to_the_state_before_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_table(open_catalog(settings), TRADES).metadata_location
    with clock(monkeypatch, timedelta(hours=2)):
        add_trades(settings, SECOND)
    # A writer of another program does not look at the time of the newest commit.
    add_trades(settings, THIRD)
    with pytest.raises(OhlcvError, match=r"times are not in order, so Spark cannot read it: .* 'ohlcv tables restore"):
        load_table_to_write(settings, TRADES)
    found = find_restoration(settings, open_catalog(settings), TRADES)
    assert (found.target, len(found.lost)) == (before, 2)
    restore(settings, open_catalog(settings), found)
    assert load_table_to_write(settings, TRADES).metadata_location == before
    add_trades(settings, SECOND, THIRD)
    assert problem_of(settings) is None
