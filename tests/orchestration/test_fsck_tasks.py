"""Weekly check of the files in Airflow: damage fails the task at once, with the repair in the alert."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, open_catalog
from ohlcv.ingest.loader import load_trades
from support.alert_recorder import AlertRecorder, callback_context, complete_run, fail_run
from support.candle_rows import MINUTE, candle, write_candles
from support.trade_files import NOON, write_generic

ALL: dict[str, Any] = {"timeframes": ["1m", "5m"], "trades": True, "records": True, "since": None}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("OHLCV_HOME", str(tmp_path / "home"))
    found = load_settings()
    create_tables(found)
    load_trades(found, [write_generic(tmp_path, f"x,BTC-USD,{NOON},1,1,0")])
    write_candles(found, MINUTE, candle(MINUTE, "2026-01-31T12:00"))
    return found


def check(monkeypatch: pytest.MonkeyPatch, **params: Any) -> None:
    """Run the task of the DAG."""
    from airflow.dag_processing.dagbag import DagBag

    from ohlcv.orchestration import fsck_tasks

    context = {**callback_context("ohlcv_fsck"), "params": {**ALL, **params}}
    monkeypatch.setattr(fsck_tasks, "get_current_context", lambda: context)
    task: Any = DagBag(Path(__file__).parents[2] / "dags").dags["ohlcv_fsck"].get_task("fsck")
    task.python_callable()


def data_file(settings: Settings) -> Path:
    table = open_catalog(settings).load_table(settings.trades_contract.identifier)
    (task,) = table.scan().plan_files()
    return Path(task.file.file_path.removeprefix("file://"))


def test_damage_fails_the_task_without_another_try(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    check(monkeypatch)
    file = data_file(settings)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(AirflowFailException, match=rf"^{settings.trades_contract}: data file {file} has .* repair: "):
        check(monkeypatch)
    check(monkeypatch, trades=False)
    # Existence and size are checked of older files, too.
    with pytest.raises(AirflowFailException):
        check(monkeypatch, since="2999-01-01T00:00:00Z")


def test_several_damaged_files_are_counted(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    data_file(settings).unlink()
    next(settings.home.glob("gold_ohlcv_1m*.parquet")).unlink()
    with pytest.raises(AirflowFailException, match=r"; and 1 more damaged files in the log$"):
        check(monkeypatch)
    check(monkeypatch, trades=False, timeframes=["5m"])


def test_damage_is_one_alert_with_the_runbook_until_a_run_without_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = AlertRecorder(monkeypatch)
    for _ in range(2):
        fail_run("ohlcv_fsck", "fsck: market_data.gold_ohlcv_1m: data file /a is missing; repair: b")
    assert recorder.sent == ["ohlcv_fsck failed"]
    assert ("Range", "files of the tables") in recorder.last.facts
    assert recorder.last.links[-1] == ("Runbook", "docs/runbook.md#damaged-files")
    complete_run("ohlcv_fsck")
    assert recorder.sent[1:] == ["ohlcv_fsck recovered"]
