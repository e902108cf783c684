"""What an alert says, and that it leads somewhere."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            "Cannot execute: spark-submit x. Error code is: 1.\nWARN a\nerror: no table: run this\n",
            "no table: run this",
        ),
        ("error: the first\nerror: the last", "the last"),
        ("\n  something else\nmore", "something else"),
        (None, "no error was given"),
        ("x" * 600, "x" * 500),
    ],
)
def test_the_line_that_says_what_went_wrong_is_found(error: str | None, line: str) -> None:
    from ohlcv.orchestration.callbacks import first_line

    assert first_line(error) == line


def test_what_comes_from_outside_is_escaped() -> None:
    from ohlcv.orchestration.notifications import Notice

    notice = Notice("<b>", (("Error", 'a <script> & "b"'),), (("Run", 'http://x/?a="1"&b=<2>'),))
    assert notice.as_html() == (
        "<h3>&lt;b&gt;</h3><table><tr><td><b>Error</b></td><td>a &lt;script&gt; &amp; &quot;b&quot;</td></tr></table>"
        '<ul><li><a href="http://x/?a=&quot;1&quot;&amp;b=&lt;2&gt;">Run</a></li></ul>'
    )
    assert notice.as_slack() == (
        '*&lt;b&gt;*\nError: a &lt;script&gt; &amp; "b"\n<http://x/?a="1"&amp;b=&lt;2&gt;|Run>'
    )


def test_every_section_an_alert_leads_to_is_in_the_runbook() -> None:
    from ohlcv.orchestration.callbacks import LATE_SECTION, RETENTION_SECTION, SECTION
    from ohlcv.orchestration.health_alerts import OTHER_SECTION, SECTIONS

    text = RUNBOOK.read_text()
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.M)
    }
    assert {*SECTIONS.values(), OTHER_SECTION, SECTION, LATE_SECTION, RETENTION_SECTION} <= headings
    # The page's own links lead to its sections too.
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= headings


class Desk:
    """Where alerts are told, and what stands: Airflow's variables and the channels, for rules that need neither."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from ohlcv.orchestration import incidents

        self.variables: dict[str, str] = {}
        self.told: list[str] = []
        self.reachable = True
        self.last: Any = None
        monkeypatch.setattr(incidents, "Variable", self)
        monkeypatch.setattr(incidents, "deliver", self.deliver)

    def get(self, key: str, default: str | None) -> str | None:
        return self.variables.get(key, default)

    def set(self, key: str, value: str) -> None:
        self.variables[key] = value

    def delete(self, key: str) -> None:
        del self.variables[key]

    def deliver(self, notice: Any) -> bool:
        self.last = notice
        if self.reachable:
            self.told.append(notice.title)
        return self.reachable


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


def context_of(dag_id: str = "ohlcv_health", run_type: str = "scheduled", error: str = "") -> Any:
    due = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
    run = SimpleNamespace(dag_id=dag_id, run_id="r", run_type=run_type, run_after=due, data_interval_end=due)
    dag = SimpleNamespace(task_ids=["aggregate"])
    instance = SimpleNamespace(log_url="http://log", task=SimpleNamespace(dag=dag), xcom_pull=lambda **_: error)
    return {"dag_run": run, "params": {}, "ti": instance}


def tick(*measures: tuple[str, str, str]) -> None:
    from ohlcv.monitoring.health import Measure
    from ohlcv.orchestration.health_alerts import judge

    judge(
        [Measure(subject, aspect, "found", "target", state) for subject, aspect, state in measures],  # type: ignore[arg-type]
        context_of(),
    )


def failed(dag_id: str, error: str = "", run_type: str = "scheduled") -> None:
    from ohlcv.orchestration.callbacks import run_failed

    run_failed(context_of(dag_id, run_type, error))


def succeeded(dag_id: str, run_type: str = "scheduled") -> None:
    from ohlcv.orchestration.callbacks import run_succeeded

    run_succeeded(context_of(dag_id, run_type))


def test_a_lost_worker_is_one_incident_with_all_that_follows(desk: Desk) -> None:
    tick(("Spark", "workers", "alert"))
    failed("ohlcv_1m", "aggregate: no worker came")
    failed("ohlcv_5m", "aggregate: something else")
    bad = [("1m", "candles", "alert"), ("1m", "runs in 24 h", "alert"), ("1m", "last job", "alert")]
    tick(("Spark", "workers", "alert"), *bad)
    # The worker is back: the candles are not, and that the day's runs failed stays so.
    tick(("Spark", "workers", "ok"), *bad)
    succeeded("ohlcv_1m")
    assert desk.told == ["OHLCV health: Spark workers"]
    tick(("Spark", "workers", "ok"), ("1m", "candles", "ok"), ("1m", "last job", "ok"), ("1m", "runs in 24 h", "alert"))
    tick(("Spark", "workers", "ok"), ("1m", "candles", "ok"), ("1m", "last job", "ok"), ("1m", "runs in 24 h", "alert"))
    assert desk.told == ["OHLCV health: Spark workers", "OHLCV health: Spark workers good again"]
    # 5m goes on to fail: that is news now.
    failed("ohlcv_5m", "aggregate: something else")
    assert desk.told[2:] == ["ohlcv_5m failed"]
    tick(("Spark", "workers", "ok"), ("1m", "runs in 24 h", "ok"))
    succeeded("ohlcv_5m")
    assert desk.told[3:] == ["ohlcv_5m is good again"]
    assert desk.variables == {}


def test_late_candles_of_a_failing_timeframe_are_told_by_its_runs(desk: Desk) -> None:
    failed("ohlcv_1m", "aggregate: x")
    tick(("1m", "candles", "alert"), ("5m", "candles", "ok"))
    assert desk.told == ["ohlcv_1m failed"]
    tick(("1m", "candles", "alert"), ("5m", "candles", "alert"))
    assert desk.told[1:] == ["OHLCV health: 1m, 5m candles"]


def test_late_candles_that_outlast_their_cause_are_told(desk: Desk) -> None:
    failed("ohlcv_1m", "aggregate: x")
    tick(("1m", "candles", "alert"))
    succeeded("ohlcv_1m")
    tick(("1m", "candles", "alert"))
    assert desk.told == ["ohlcv_1m failed", "ohlcv_1m is good again", "OHLCV health: 1m candles"]


def test_one_error_in_all_dags_is_one_incident(desk: Desk) -> None:
    failed("ohlcv_1m", "aggregate: the catalog c does not answer (refused): check it")
    failed("ohlcv_5m", "validate: the catalog c does not answer (timed out): check it")
    failed("ohlcv_health", "look: the catalog c does not answer (x): check it")
    assert desk.told == ["ohlcv_1m failed"]
    failed("ohlcv_30m", "aggregate: quite another")
    # Two that were killed have no error in common.
    failed("ohlcv_1h")
    failed("ohlcv_1d")
    assert desk.told[1:] == ["ohlcv_30m failed", "ohlcv_1h failed", "ohlcv_1d failed"]


def test_kinds_of_runs_are_incidents_of_their_own(desk: Desk) -> None:
    failed("ohlcv_1m", "aggregate: x", "manual")
    succeeded("ohlcv_1m", "scheduled")
    failed("ohlcv_1m", "aggregate: x", "manual")
    succeeded("ohlcv_1m", "manual")
    assert desk.told == ["ohlcv_1m failed", "ohlcv_1m is good again"]


def test_what_nobody_could_be_told_is_tried_again_and_ends_in_silence(desk: Desk) -> None:
    desk.reachable = False
    tick(("1m", "candles", "alert"))
    began = json.loads(desk.variables["ohlcv_incident:health:candles"])["since"]
    desk.reachable = True
    tick(("1m", "candles", "alert"))
    assert desk.told == ["OHLCV health: 1m candles"]
    assert json.loads(desk.variables["ohlcv_incident:health:candles"])["since"] == began
    desk.reachable = False
    tick(("1m", "last job", "alert"))
    desk.reachable = True
    tick(("1m", "last job", "ok"))
    assert desk.told[1:] == []


def test_nothing_is_known_of_what_was_not_looked_at(desk: Desk) -> None:
    tick(("1m", "runs in 24 h", "alert"))
    tick(("1m", "runs in 24 h", "unknown"))
    assert desk.told == ["OHLCV health: 1m runs in 24 h"]
    tick(("1m", "runs in 24 h", "ok"))
    assert desk.told[1:] == ["OHLCV health: 1m runs in 24 h good again"]


def test_only_scheduled_runs_have_a_deadline(desk: Desk) -> None:
    from ohlcv.orchestration.callbacks import deadline_missed

    for run_type, told in (("backfill", []), ("manual", []), ("scheduled", ["ohlcv_1m is late"])):
        due = "2026-03-01T12:05:00Z"
        run = {"dag_id": "ohlcv_1m", "dag_run_id": "r", "run_after": due, "data_interval_end": due}
        asyncio.run(deadline_missed(10, {"dag_run": {**run, "run_type": run_type}}))
        assert desk.told == told
    # One incident: that it failed in the end is no other.
    failed("ohlcv_1m", "aggregate: x")
    succeeded("ohlcv_1m")
    assert desk.told[1:] == ["ohlcv_1m is good again"]


def test_a_retention_problem_is_told_with_its_day_and_its_section(desk: Desk) -> None:
    failed("ohlcv_retention", "1m.plan: gold_ohlcv_1m: 9 of 10 candles (90.0%) would go, more than 50%")
    assert desk.told == ["ohlcv_retention failed"]
    assert ("Range", "as of 2026-03-01") in desk.last.facts
    assert dict(desk.last.links)["Runbook"].endswith("#retention-see-first-then-do")
    succeeded("ohlcv_retention")
    assert desk.told[1:] == ["ohlcv_retention is good again"]
