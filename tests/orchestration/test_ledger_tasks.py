"""Recording of the ledger in Airflow: failures, gaps, and what the retention DAG passes to expiry."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ohlcv.config.maintained_tables import RECORD_TABLES
from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg import tables
from ohlcv.ledger import expiry
from ohlcv.ledger.reports import LedgerReport
from ohlcv.model.errors import OhlcvError
from ohlcv.model.timeframes import Timeframe
from support.alert_recorder import AlertRecorder, callback_context, complete_run, fail_run
from support.candle_rows import MINUTE, candle, write_candles
from support.ledger_rows import add_ledger_rows

TIME = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Recordings:
    """Test double of the recorder: its reports and errors by timeframe, and its calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.errors: dict[str, Exception] = {}
        self.gaps: dict[str, datetime] = {}
        self.unavailable: str | None = None
        self.keep_since: datetime | None = TIME
        monkeypatch.setattr(tables, "open_catalog", lambda settings: None)
        monkeypatch.setattr(expiry, "record", self._record)
        monkeypatch.setattr(expiry, "ledger_status", lambda *_: SimpleNamespace(keep_since=self.keep_since))

    def _record(self, settings: Settings, timeframe: Timeframe, catalog: Any) -> LedgerReport:
        self.calls.append(timeframe.name)
        if error := self.errors.get(timeframe.name):
            raise error
        return LedgerReport(
            timeframe.name,
            publications=2,
            revisions={"updated": 1500, "deleted": 1},
            gap=self.gaps.get(timeframe.name),
            unavailable=self.unavailable,
        )


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> Recordings:
    return Recordings(monkeypatch)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> AlertRecorder:
    return AlertRecorder(monkeypatch)


def record(*names: str) -> dict[str, str]:
    from ohlcv.orchestration.ledger_tasks import record_timeframes

    return record_timeframes(load_settings({}), names, callback_context("ohlcv_ledger"))


def test_a_failure_of_one_timeframe_does_not_stop_the_others(recordings: Recordings, recorder: AlertRecorder) -> None:
    from ohlcv.orchestration.ledger_tasks import summarize

    recordings.errors = {"1m": OhlcvError("gold_ohlcv_revisions is locked: wait"), "30m": ValueError("a defect\nhere")}
    errors = record("1m", "5m", "30m", "1h")
    assert recordings.calls == ["1m", "5m", "30m", "1h"]
    assert errors == {"1m": "gold_ohlcv_revisions is locked: wait", "30m": "ValueError: a defect"}
    assert summarize(errors) == (
        "the ledger of 1m, 30m was not recorded: gold_ohlcv_revisions is locked: wait; ValueError: a defect"
    )


def test_an_error_that_candle_runs_have_too_is_not_notified_again(
    recordings: Recordings, recorder: AlertRecorder
) -> None:
    from ohlcv.orchestration.ledger_tasks import summarize

    fail_run("ohlcv_1m", "aggregate: the catalog c does not answer (refused): check it")
    error = OhlcvError("the catalog c does not answer (timed out): check it")
    recordings.errors = dict.fromkeys(("1m", "5m"), error)
    fail_run("ohlcv_ledger", f"record: {summarize(record('1m', '5m'))}")
    assert recorder.sent == ["ohlcv_1m failed"]


def test_a_recording_is_logged_in_one_line(
    recordings: Recordings, recorder: AlertRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="ohlcv.orchestration.ledger_tasks")
    record("5m")
    assert caplog.messages == ["5m: 2 publications; revisions: 1,500 updated, 1 deleted; 0.0 s"]
    caplog.clear()
    recordings.unavailable = "the catalog shows only the newest snapshot"
    record("5m")
    assert caplog.messages == ["5m: not recorded: the catalog shows only the newest snapshot"]


def test_a_gap_is_notified_once_until_the_next_recording(recordings: Recordings, recorder: AlertRecorder) -> None:
    recordings.gaps = {"1m": TIME}
    recorder.reachable = False
    record("1m", "5m")
    recorder.reachable = True
    record("1m", "5m")
    record("1m", "5m")
    assert recorder.sent == ["OHLCV ledger: gap in 1m"]
    facts = dict(recorder.last.facts)
    assert facts["Lost"].startswith("publications of 1m before 2026-03-01T12:00:00Z")
    assert facts["Effect"].startswith("reads as of a time before 2026-03-01T12:00:00Z are refused")
    assert "ohlcv_ledger" in facts["Do"]
    assert recorder.last.links[-1] == ("Runbook", "docs/runbook.md#a-gap-in-the-ledger")
    recordings.gaps = {}
    record("5m")
    assert recorder.sent[1:] == []
    record("1m")
    assert recorder.sent[1:] == ["OHLCV ledger: 1m is recorded again"]
    assert recorder.variables == {}


def test_a_failed_recording_does_not_end_the_incident_of_a_gap(recordings: Recordings, recorder: AlertRecorder) -> None:
    recordings.gaps = {"1m": TIME}
    record("1m")
    recordings.gaps, recordings.errors = {}, {"1m": OhlcvError("x")}
    record("1m")
    assert set(recorder.variables) == {"ohlcv_incident:ledger gap:1m"}


def test_retention_records_before_it_expires_snapshots(recordings: Recordings, recorder: AlertRecorder) -> None:
    from ohlcv.orchestration.ledger_tasks import record_before_expiry

    context = callback_context("ohlcv_retention")
    assert record_before_expiry(load_settings({}), "1h", context) == "2026-03-01T12:00:00Z"
    assert recordings.calls == ["1h"]
    recordings.keep_since = None
    assert record_before_expiry(load_settings({}), "1h", context) == ""
    assert recorder.sent == []


def test_a_failed_recording_before_expiry_is_the_incident_of_the_ledger(
    recordings: Recordings, recorder: AlertRecorder
) -> None:
    from ohlcv.orchestration.ledger_tasks import record_before_expiry

    recordings.errors = {"1h": OhlcvError("gold_ohlcv_revisions is locked: wait")}
    for _ in range(2):
        assert record_before_expiry(load_settings({}), "1h", callback_context("ohlcv_retention"))
    assert recorder.sent == ["ohlcv_retention could not record the ledger"]
    assert ("Error", "1h: gold_ohlcv_revisions is locked: wait") in recorder.last.facts
    assert recorder.last.links[-1] == ("Runbook", "docs/runbook.md#the-ledger-is-behind")
    fail_run("ohlcv_ledger", "record: gold_ohlcv_revisions is locked: wait")
    complete_run("ohlcv_ledger")
    assert recorder.sent[1:] == ["ohlcv_ledger recovered"]


def test_a_failed_run_of_the_ledger_names_its_range_and_its_section(recorder: AlertRecorder) -> None:
    fail_run("ohlcv_ledger", "record: x")
    assert ("Range", "publications since the last run") in recorder.last.facts
    assert dict(recorder.last.links)["Runbook"].endswith("#the-ledger-is-behind")


def test_months_of_a_timeframe_whose_candles_were_not_deleted_remain() -> None:
    from ohlcv.orchestration.retention_tasks import days_of

    plans: Any = [
        SimpleNamespace(table=SimpleNamespace(name=table), timeframe=timeframe, days=[f"{timeframe}:2026-01-01"])
        for table in ("publications", "revisions")
        for timeframe in ("1m", "5m")
    ]
    assert days_of(plans, "revisions", ["1m"]) == ["5m:2026-01-01"]
    assert days_of(plans, "publications", []) == ["1m:2026-01-01", "5m:2026-01-01"]


def plan_of_records(monkeypatch: pytest.MonkeyPatch, **params: Any) -> Any:
    """Run the task that plans the deletions in the record tables as of 21 November 2026."""
    from airflow.dag_processing.dagbag import DagBag

    from ohlcv.orchestration import retention_tasks

    given = {"timeframes": ["1m", "5m"], "as_of": "2026-11-21", "dry_run": False, "max_share": 0.5} | params
    context = {**callback_context("ohlcv_retention"), "params": given}
    monkeypatch.setattr(retention_tasks, "get_current_context", lambda: context)
    plan: Any = DagBag(Path(__file__).parents[2] / "dags").dags["ohlcv_retention"].get_task("records.plan")
    return plan.python_callable()


@pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
def test_the_plan_of_the_ledger_waits_for_the_deletion_of_the_candles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OHLCV_HOME", str(tmp_path))
    settings = load_settings()
    tables.create_tables(settings)
    for name in ("1m", "5m"):
        add_ledger_rows(settings, "revisions", name, "2026-01-05", "2026-02-05", "2026-11-05")
    # An expired candle that retention has not deleted.
    write_candles(settings, MINUTE, candle(MINUTE, "2026-01-05T12:00"), candle(MINUTE, "2026-11-05T12:00"))
    caplog.set_level(logging.INFO, logger="ohlcv.orchestration.retention_tasks")
    assert plan_of_records(monkeypatch, dry_run=True) is False
    assert "1m revisions: retention 90 days as of 2026-11-21: kept from 2026-08-01 on" in caplog.messages
    assert "  partitions  2, 2026-01-01 to 2026-02-01" in caplog.messages
    caplog.clear()
    plan = plan_of_records(monkeypatch)
    assert list(plan["days"]) == list(RECORD_TABLES)
    expired = {table: days for table, days in plan["days"].items() if days}
    assert expired == {"revisions": ["5m:2026-01-01", "5m:2026-02-01"]}
    assert plan["before"]["revisions"]["rows"] == 6
    assert "1m: its expired candles were not deleted, so its records are not deleted either" in caplog.messages


@pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
def test_record_tables_that_do_not_exist_do_not_stop_the_maintenance_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OHLCV_HOME", str(tmp_path))
    settings = load_settings()
    tables.create_tables(settings)
    catalog = tables.open_catalog(settings)
    for contract in (settings.coverage_contract, settings.coverage_notes_contract):
        catalog.drop_table(contract.identifier)
    plan = plan_of_records(monkeypatch)
    assert plan["days"] == {"publications": [], "revisions": [], "reconciliation": []}
    assert list(plan["before"]) == list(plan["days"])
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "nothing is maintained of coverage, coverage_notes: there is no table market_data.gold_ohlcv_coverage: "
        "run 'ohlcv tables create'"
    ]
