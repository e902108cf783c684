"""Daily reconciliation in Airflow: one incident per venue, series and timeframe, and files that cannot be read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, open_catalog
from ohlcv.model.errors import OhlcvError
from support.alert_recorder import AlertRecorder, callback_context
from support.candle_rows import HOUR, write_candles
from support.published_candles import Published, random_candles, write_file

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
KEY = "ohlcv_incident:reconcile:kraken:X:BTC:1h"


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> AlertRecorder:
    return AlertRecorder(monkeypatch)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    (tmp_path / "published").mkdir()
    monkeypatch.setenv("OHLCV_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OHLCV_RECONCILE_FOLDER", str(tmp_path / "published"))
    found = load_settings()
    create_tables(found)
    return found


def reconcile(monkeypatch: pytest.MonkeyPatch, days: int = 7) -> None:
    """Run the task of the DAG."""
    from airflow.dag_processing.dagbag import DagBag

    from ohlcv.orchestration import reconcile_tasks

    context = {**callback_context("ohlcv_reconcile"), "params": {"days": days}}
    monkeypatch.setattr(reconcile_tasks, "get_current_context", lambda: context)
    task: Any = DagBag(Path(__file__).parents[2] / "dags").dags["ohlcv_reconcile"].get_task("reconcile")
    task.python_callable()


def publish(settings: Settings, candles: list[Published]) -> Path:
    folder = settings.reconciliation.folder
    assert folder is not None
    return write_file(folder / "kraken-ohlc/X/BTC/1h", "kraken csv", candles, HOUR, "published.csv")


def test_differences_are_notified_once_until_a_clean_run(
    settings: Settings, recorder: AlertRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = random_candles(1, 4, HOUR)
    write_candles(settings, HOUR, *(each.row(HOUR) for each in ours))
    publish(settings, [*ours[:3], replace(ours[3], close=ours[3].close + 1, high=ours[3].high + 1)])
    for _ in range(2):
        reconcile(monkeypatch)
    assert recorder.sent == ["OHLCV reconciliation: kraken: X BTC 1h differs"]
    assert list(recorder.variables) == [KEY]
    facts = dict(recorder.last.facts)
    assert facts["Compared"].startswith("kraken: X BTC 1h: 3 equal, 1 different")
    assert facts["Files"] == "published.csv"
    assert " is " in facts["Difference"]
    assert ", published " in facts["Difference"]
    assert recorder.last.links[-1] == ("Runbook", "docs/runbook.md#published-candles-differ")
    publish(settings, ours)
    for _ in range(2):
        reconcile(monkeypatch)
    assert recorder.sent[1:] == ["OHLCV reconciliation: kraken: X BTC 1h is equal again"]
    assert recorder.variables == {}


def test_a_file_that_cannot_be_read_fails_the_task_after_the_others(
    settings: Settings, recorder: AlertRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = random_candles(1, 2, HOUR)
    write_candles(settings, HOUR, *(each.row(HOUR) for each in ours))
    path = publish(settings, [replace(ours[0], volume=ours[0].volume + 1), ours[1]])
    path.with_name("a.csv").write_text("x")
    with pytest.raises(OhlcvError, match=r"a\.csv"):
        reconcile(monkeypatch)
    assert recorder.sent == ["OHLCV reconciliation: kraken: X BTC 1h differs"]


def test_without_a_folder_the_task_is_skipped(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    monkeypatch.delenv("OHLCV_RECONCILE_FOLDER")
    with pytest.raises(AirflowSkipException, match="OHLCV_RECONCILE_FOLDER is not set"):
        reconcile(monkeypatch)


def test_without_the_table_the_task_says_what_to_do_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = random_candles(1, 2, HOUR)
    write_candles(settings, HOUR, *(each.row(HOUR) for each in ours))
    publish(settings, ours)
    open_catalog(settings).drop_table(settings.reconciliation_contract.identifier)
    message = r"^there is no table market_data\.gold_ohlcv_reconciliation: run 'ohlcv tables create'$"
    with pytest.raises(OhlcvError, match=message):
        reconcile(monkeypatch)
