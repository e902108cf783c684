"""Notifications on real services: one message when an incident begins, one when it ends, by mail and web hook."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from ohlcv.model.intervals import HOUR, floor_time, iso
from ohlcv.model.timeframes import DAY, DEFAULT_TIMEFRAMES
from ohlcv.spark.processes import descendants
from support.processes import command_line, wait_for
from support.receivers import Receivers, running_receivers
from support.sites import POLL_SECONDS, Run, Site, running_site

pytestmark = [pytest.mark.services, pytest.mark.timeout(3600)]

TODAY = floor_time(datetime.now(UTC), DAY)
BEGIN = TODAY - DAY


@dataclass
class AlertingSite:
    """An installation that sends notifications, and what its receivers got."""

    site: Site
    receivers: Receivers

    @contextmanager
    def unpaused(self, dag_id: str) -> Iterator[None]:
        """Unpause a DAG for one test, so that its schedule sends nothing during the other tests."""
        self.site.airflow.unpause(dag_id)
        try:
            yield
        finally:
            self.site.pause_and_wait(dag_id)


@pytest.fixture(scope="module")
def alerting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlertingSite]:
    """Start an installation for the tests of single DAGs. Each test looks only at the messages about its own DAG."""
    with running_receivers() as receivers:
        environment = receivers.environment | {"OHLCV_5M_DEADLINE_SECONDS": "3"}
        with running_site(tmp_path_factory.mktemp("alerting"), environment=environment) as site:
            site.generate_trades(BEGIN, TODAY, 10_000)
            yield AlertingSite(site, receivers)


def test_repeated_failures_send_one_alert_and_one_recovery(alerting: AlertingSite) -> None:
    site, receivers = alerting.site, alerting.receivers
    reversed_range = {"start": iso(BEGIN + HOUR), "end": iso(BEGIN)}

    def subjects() -> list[str]:
        return receivers.subjects("ohlcv_1h")

    def texts() -> list[str]:
        return receivers.slack_texts_about("ohlcv_1h")

    with alerting.unpaused("ohlcv_1h"):
        first = site.wait_until_ended(site.trigger("ohlcv_1h", reversed_range))
        assert first.state == "failed"
        wait_for(lambda: subjects() and texts(), "an alert arrives", POLL_SECONDS)
        for _ in range(2):
            assert site.wait_until_ended(site.trigger("ohlcv_1h", reversed_range)).state == "failed"
        good = site.wait_until_successful(site.trigger("ohlcv_1h", {"start": iso(BEGIN), "end": iso(BEGIN + HOUR)}))
        wait_for(lambda: len(subjects()) > 1 and len(texts()) > 1, "a recovery arrives", POLL_SECONDS)
    assert subjects() == ["ohlcv_1h failed", "ohlcv_1h recovered"]
    alert = receivers.mails_about("ohlcv_1h")[0]
    print("mail:", alert.as_string(), "Slack:", *texts(), sep="\n")
    assert alert["to"] == "team@example.com, night@example.com"
    body = alert.get_body(("html",)).get_content()
    for part in (
        first.run_id,
        f"aggregate: start {reversed_range['start']} must be before end {reversed_range['end']}",
        "no valid range",
        f'/dags/ohlcv_1h/runs/{quote(first.run_id, safe="")}">Run',
        "https://wiki.example.com/ohlcv#a-run-failed",
    ):
        assert part in body
    assert texts()[0].startswith("*ohlcv_1h failed*\n")
    assert "|Run>" in texts()[0]
    assert good.run_id in texts()[1]
    assert "Failing since: " in texts()[1]


def find_task_process(site: Site) -> int | None:
    for pid in descendants(site.airflow.processes["scheduler"].pid):
        command = command_line(pid)
        if command.startswith("airflow worker -- ") and "LocalExecutor" not in command:
            return pid
    return None


def test_a_run_whose_task_process_is_killed_in_every_attempt_sends_an_alert(alerting: AlertingSite) -> None:
    site, receivers = alerting.site, alerting.receivers
    with alerting.unpaused("ohlcv_30m"):
        # Only one task process may run: the one that this test kills.
        site.wait_until_no_run_is_due("ohlcv_30m", timedelta(minutes=6))
        run = site.trigger("ohlcv_30m", {"start": iso(BEGIN), "end": iso(BEGIN + HOUR)})
        for attempt in (1, 2, 3):
            kill_attempt(site, run, attempt)
        assert site.wait_until_ended(run).state == "failed"
        wait_for(lambda: receivers.subjects("ohlcv_30m"), "an alert arrives", POLL_SECONDS)
    mail = receivers.mails_about("ohlcv_30m")[0]
    assert mail["subject"] == "ohlcv_30m failed"
    body = mail.get_body(("html",)).get_content()
    assert "the task process was killed or lost" in body
    assert iso(BEGIN) in body


def kill_attempt(site: Site, run: Run, attempt: int) -> None:
    """Kill the process of an attempt of the Spark task as soon as it runs."""

    def is_running() -> bool:
        task = site.task(run, "aggregate")
        return bool(task["state"] == "running" and task["try_number"] == attempt)

    wait_for(is_running, f"attempt {attempt} runs", POLL_SECONDS)
    os.kill(wait_for(lambda: find_task_process(site), "its process", POLL_SECONDS), signal.SIGKILL)


def test_a_late_scheduled_run_sends_an_alert_and_a_late_manual_run_does_not(alerting: AlertingSite) -> None:
    site, receivers = alerting.site, alerting.receivers
    with alerting.unpaused("ohlcv_5m"):
        manual = site.trigger("ohlcv_5m", {"start": iso(BEGIN), "end": iso(BEGIN + HOUR)})
        site.wait_until_successful(manual)
        (run, *_) = wait_for(lambda: site.runs("ohlcv_5m", "scheduled"), "5m is scheduled", POLL_SECONDS)
        site.wait_until_successful(run)
        wait_for(lambda: len(receivers.subjects("ohlcv_5m")) > 1, "alert and recovery arrive", POLL_SECONDS)
    mails = receivers.mails_about("ohlcv_5m")
    # A second scheduled run may have become due meanwhile. It is late too.
    assert receivers.subjects("ohlcv_5m")[:2] == ["ohlcv_5m is late", "ohlcv_5m recovered"]
    body = mails[0].get_body(("html",)).get_content()
    for part in (
        run.run_id,
        site.job_range(run)[0],
        "the run has not ended 0.05 minutes after it was queued",
        "https://wiki.example.com/ohlcv#a-run-is-late",
    ):
        assert part in body
    assert not any(manual.run_id in mail.as_string() for mail in mails)


def complete_health_run(site: Site) -> Run:
    return site.wait_until_successful(site.trigger("ohlcv_health"))


def lose_worker(site: Site) -> str:
    name = site.kill_worker()
    wait_for(lambda: "ALIVE" not in site.worker_states(), "the master reports it as lost", POLL_SECONDS)
    return name


def test_an_hour_without_a_worker_sends_one_alert_and_one_recovery(tmp_path: Path) -> None:
    """Lose the only worker while trades of an hour wait for their candles.

    The hour is simulated: its trades are loaded at once, and six health runs are triggered by hand.
    """
    with running_receivers() as receivers:
        # On a slow machine, slow runs would be another incident.
        environment = receivers.environment | {"OHLCV_TIME_TARGET_SECONDS": "300", "OHLCV_DEADLINE_SECONDS": "3600"}
        with running_site(tmp_path, environment=environment) as site:
            check_outage(site, receivers)


def check_outage(site: Site, receivers: Receivers) -> None:
    began = datetime.now(UTC) - HOUR
    site.generate_trades(began - DAY, began, 5_000)
    dags = [timeframe.dag_id for timeframe in DEFAULT_TIMEFRAMES.values()]
    for dag_id in dags:
        site.complete_first_scheduled_run(dag_id)
        site.pause_and_wait(dag_id)
    site.airflow.unpause("ohlcv_health")
    complete_health_run(site)
    mails_before, texts_before = len(receivers.mails), len(receivers.slack_texts)

    name = lose_worker(site)
    site.generate_trades(began, datetime.now(UTC), 1_000)
    complete_health_run(site)
    known = {run.run_id for run in site.runs("ohlcv_1m")}
    site.airflow.unpause("ohlcv_1m")

    def find_waiting_run() -> Run | None:
        new = [run for run in site.runs("ohlcv_1m", "scheduled") if run.run_id not in known]
        return new[-1] if new and site.task(new[-1], "aggregate")["state"] == "running" else None

    run = wait_for(find_waiting_run, "a run waits for a worker", POLL_SECONDS, patience=600)
    site.airflow.call("PATCH", f"/dags/ohlcv_1m/dagRuns/{run.run_id}", {"state": "failed"})
    for _ in range(5):
        health_run = complete_health_run(site)
    log = site.log(health_run, "look")
    assert "alert    Spark workers: 0 alive" in log
    assert "alert    1m candles" in log
    assert "alert    5m candles" in log
    assert "alert    1m runs in 24 h" in log

    site.cluster.add_worker(f"{name}-again", 1, "1g")
    # The worker is back, but the candles are still missing: no recovery yet.
    complete_health_run(site)
    assert (len(receivers.mails), len(receivers.slack_texts)) == (mails_before + 1, texts_before + 1)
    for dag_id in dags:
        site.airflow.unpause(dag_id)
        site.wait_until_successful(site.trigger(dag_id))
    print(site.log(complete_health_run(site), "look"))
    assert receivers.subjects()[mails_before:] == [
        "OHLCV health: Spark workers",
        "OHLCV health: Spark workers recovered",
    ]
    assert len(receivers.slack_texts) == texts_before + 2
    print(*receivers.slack_texts[texts_before:], sep="\n")


def test_a_dead_mail_server_and_a_malformed_hook_fail_no_task(tmp_path: Path) -> None:
    unreachable = {
        "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps({"conn_type": "smtp", "host": "127.0.0.1", "port": 1}),
        "AIRFLOW_CONN_SLACK_DEFAULT": json.dumps({"conn_type": "slackwebhook", "password": "no address at all"}),
        "OHLCV_ALERT_EMAIL": "team@example.com",
    }
    with running_site(tmp_path, environment=unreachable) as site:
        site.generate_trades(BEGIN, TODAY, 1_000)
        run = site.complete_first_scheduled_run("ohlcv_health")
        log = site.log(run, "look")
        assert "could not be sent by email" in log
        assert "could not be sent by Slack" in log
        task = site.task(run, "look")
        assert (task["state"], task["try_number"]) == ("success", 1)
        assert timedelta(seconds=task["duration"]) < timedelta(minutes=2)
