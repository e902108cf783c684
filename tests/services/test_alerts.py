"""Alerts on real services: a real mail server, a real web hook, one message per incident and one when it ends."""

from __future__ import annotations

import email
import email.policy
import json
import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiosmtpd.controller import Controller

from ohlcv.model.intervals import HOUR, floor_time, iso
from ohlcv.model.timeframes import DAY, TIMEFRAMES
from ohlcv.spark.processes import HOST, descendants, free_port
from support.processes import command_line, wait_for
from support.sites import POLL_SECONDS, Run, Site, running_site

pytestmark = pytest.mark.heavy

TODAY = floor_time(datetime.now(UTC), DAY)
BEGIN = TODAY - DAY


class Mailbox:
    """A mail server that keeps what it gets."""

    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_DATA(  # noqa: N802  # aiosmtpd's name
        self, server: object, session: object, envelope: Any
    ) -> str:
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"

    def titles(self) -> list[str]:
        return [str(mail["subject"]) for mail in self.mails]


@pytest.fixture(scope="module")
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    port = free_port()
    server = Controller(box, hostname=HOST, port=port)
    server.start()
    yield box, port
    server.stop()


@pytest.fixture(scope="module")
def hook() -> Iterator[tuple[list[str], str]]:
    """A web hook as Slack's: it keeps the texts."""
    texts: list[str] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            texts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield texts, f"http://127.0.0.1:{server.server_port}/services/T/B/x"
    server.shutdown()
    thread.join()
    server.server_close()


def alerting(mailbox: tuple[Mailbox, int], hook: tuple[list[str], str]) -> dict[str, str]:
    """Give the environment of a site that alerts."""
    smtp = {"disable_ssl": True, "disable_tls": True, "from_email": "ohlcv@example.com"}
    return {
        "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(
            {"conn_type": "smtp", "host": "127.0.0.1", "port": mailbox[1], "extra": smtp}
        ),
        "AIRFLOW_CONN_SLACK_DEFAULT": json.dumps({"conn_type": "slackwebhook", "password": hook[1]}),
        "OHLCV_ALERT_EMAIL": "team@example.com, night@example.com",
        "OHLCV_RUNBOOK_URL": "https://wiki.example.com/ohlcv",
    }


@pytest.fixture(scope="module")
def watched(
    tmp_path_factory: pytest.TempPathFactory, mailbox: tuple[Mailbox, int], hook: tuple[list[str], str]
) -> Iterator[Site]:
    environment = alerting(mailbox, hook) | {"OHLCV_5M_DEADLINE_SECONDS": "3"}
    with running_site(tmp_path_factory.mktemp("watched"), environment=environment) as site:
        site.feed(BEGIN, TODAY, 10_000)
        yield site


def test_failed_runs_are_one_incident_with_one_recovery(
    watched: Site, mailbox: tuple[Mailbox, int], hook: tuple[list[str], str]
) -> None:
    box, (texts, _) = mailbox[0], hook
    watched.airflow.unpause("ohlcv_1h")
    reversed_range = {"start": iso(BEGIN + HOUR), "end": iso(BEGIN)}
    first = watched.ended(watched.trigger("ohlcv_1h", reversed_range))
    assert first.state == "failed"
    wait_for(lambda: box.mails and texts, "an alert comes", POLL_SECONDS)
    for _ in range(2):
        assert watched.ended(watched.trigger("ohlcv_1h", reversed_range)).state == "failed"
    good = watched.succeeds(watched.trigger("ohlcv_1h", {"start": iso(BEGIN), "end": iso(BEGIN + HOUR)}))
    wait_for(lambda: len(box.mails) > 1 and len(texts) > 1, "a recovery comes", POLL_SECONDS)
    assert box.titles() == ["ohlcv_1h failed", "ohlcv_1h is good again"]
    print("mail:", box.mails[0].as_string(), "Slack:", *texts, sep="\n")
    alert = box.mails[0]
    assert alert["to"] == "team@example.com, night@example.com"
    body = alert.get_body(("html",)).get_content()
    for part in (
        first.run_id,
        f"aggregate: start {reversed_range['start']} must be before end {reversed_range['end']}",
        "none that can be built",
        f'/dags/ohlcv_1h/runs/{quote(first.run_id, safe="")}">Run',
        "https://wiki.example.com/ohlcv#a-run-failed",
    ):
        assert part in body
    assert texts[0].startswith("*ohlcv_1h failed*\n")
    assert "|Run>" in texts[0]
    assert good.run_id in texts[1]
    assert "Failing since: " in texts[1]


def task_process(site: Site) -> int | None:
    for pid in descendants(site.airflow.processes["scheduler"].pid):
        words = command_line(pid)
        if words.startswith("airflow worker -- ") and "LocalExecutor" not in words:
            return pid
    return None


def test_a_run_whose_task_was_killed_every_time_is_alerted_too(watched: Site, mailbox: tuple[Mailbox, int]) -> None:
    box = mailbox[0]
    before = len(box.mails)
    watched.airflow.unpause("ohlcv_30m")
    for run in watched.runs("ohlcv_30m"):
        watched.ended(run)
    run = watched.trigger("ohlcv_30m", {"start": iso(BEGIN), "end": iso(BEGIN + HOUR)})

    def killed(attempt: int) -> None:
        def running() -> bool:
            task = watched.task(run, "aggregate")
            return bool(task["state"] == "running" and task["try_number"] == attempt)

        wait_for(running, f"try {attempt} runs", POLL_SECONDS)
        os.kill(wait_for(lambda: task_process(watched), "its process", POLL_SECONDS), signal.SIGKILL)

    for attempt in (1, 2, 3):
        killed(attempt)
    assert watched.ended(run).state == "failed"
    wait_for(lambda: len(box.mails) > before, "an alert comes", POLL_SECONDS)
    mail = box.mails[before]
    assert mail["subject"] == "ohlcv_30m failed"
    body = mail.get_body(("html",)).get_content()
    assert "its process was killed, or lost" in body
    assert iso(BEGIN) in body


def health_run(site: Site) -> Run:
    return site.succeeds(site.trigger("ohlcv_health"))


def lose_worker(site: Site) -> str:
    name, worker = next((n, p) for n, p in site.cluster.processes.items() if n.startswith("worker"))
    worker.kill()
    worker.wait()
    del site.cluster.processes[name]
    wait_for(lambda: "ALIVE" not in site.worker_states(), "the master misses it", POLL_SECONDS)
    return name


def test_a_scheduled_run_past_its_deadline_is_alerted_and_a_run_by_hand_is_not(
    watched: Site, mailbox: tuple[Mailbox, int]
) -> None:
    box = mailbox[0]
    before = len(box.mails)
    watched.airflow.unpause("ohlcv_5m")
    watched.succeeds(watched.trigger("ohlcv_5m", {"start": iso(BEGIN), "end": iso(BEGIN + HOUR)}))
    (run, *_) = wait_for(lambda: watched.runs("ohlcv_5m", "scheduled"), "5m is scheduled", POLL_SECONDS)
    watched.succeeds(run)
    wait_for(lambda: len(box.mails) > before + 1, "an alert and a recovery come", POLL_SECONDS)
    assert box.titles()[before:][:2] == ["ohlcv_5m is late", "ohlcv_5m is good again"]
    body = box.mails[before].get_body(("html",)).get_content()
    for part in (
        run.run_id,
        watched.range_of(run)[0],
        "the run has not ended 0.05 minutes after it was queued",
        "https://wiki.example.com/ohlcv#a-run-is-late",
    ):
        assert part in body


def test_an_hour_of_outage_is_one_alert_and_one_recovery(
    tmp_path: Path, mailbox: tuple[Mailbox, int], hook: tuple[list[str], str]
) -> None:
    """The worker is lost, and an hour of trades finds nobody to make candles of them.

    The hour is played: its trades come at once, and a look at health is asked for where six would have been due.
    """
    box, (texts, _) = mailbox[0], hook
    # This machine may be slow, which is another incident.
    environment = alerting(mailbox, hook) | {"OHLCV_TIME_TARGET_SECONDS": "300", "OHLCV_DEADLINE_SECONDS": "3600"}
    with running_site(tmp_path, environment=environment) as site:
        began = datetime.now(UTC) - HOUR
        site.feed(BEGIN, began, 5_000)
        dags = [timeframe.dag_id for timeframe in TIMEFRAMES.values()]
        for dag_id in dags:
            site.first_scheduled(dag_id)
            site.quiet(dag_id)
        site.airflow.unpause("ohlcv_health")
        health_run(site)
        told = len(box.mails), len(texts)

        name = lose_worker(site)
        site.feed(began, datetime.now(UTC), 1_000)
        health_run(site)
        known = {run.run_id for run in site.runs("ohlcv_1m")}
        site.airflow.unpause("ohlcv_1m")

        def tried() -> Run | None:
            new = [run for run in site.runs("ohlcv_1m", "scheduled") if run.run_id not in known]
            started = new and site.task(new[-1], "aggregate")["state"] == "running"
            return new[-1] if started else None

        run = wait_for(tried, "a run waits for a worker", POLL_SECONDS, patience=600)
        path = f"/dags/ohlcv_1m/dagRuns/{run.run_id}"
        site.airflow.call("PATCH", path, {"state": "failed"})
        for _ in range(5):
            looked = health_run(site)
        log = site.log(looked, "look")
        assert "alert    Spark workers: 0 alive" in log
        assert "alert    1m candles" in log
        assert "alert    5m candles" in log
        assert "alert    1m runs in 24 h" in log

        site.cluster.add_worker(f"{name}-again", 1, "1g")
        # Back, but nothing is mended yet.
        health_run(site)
        assert (len(box.mails), len(texts)) == (told[0] + 1, told[1] + 1)
        for dag_id in dags:
            site.airflow.unpause(dag_id)
            site.succeeds(site.trigger(dag_id))
        looked = health_run(site)
        print(site.log(looked, "look"))
        assert box.titles()[told[0] :] == ["OHLCV health: Spark workers", "OHLCV health: Spark workers good again"]
        assert len(texts) == told[1] + 2
        print(*texts[told[1] :], sep="\n")


def test_a_dead_mail_server_and_a_malformed_hook_change_no_run(tmp_path: Path) -> None:
    dead = {
        "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps({"conn_type": "smtp", "host": "127.0.0.1", "port": 1}),
        "AIRFLOW_CONN_SLACK_DEFAULT": json.dumps({"conn_type": "slackwebhook", "password": "no address at all"}),
        "OHLCV_ALERT_EMAIL": "team@example.com",
    }
    with running_site(tmp_path, environment=dead) as site:
        site.feed(BEGIN, TODAY, 1_000)
        site.airflow.unpause("ohlcv_health")
        run = site.first_scheduled("ohlcv_health")
        log = site.log(run, "look")
        assert "could not be sent by email" in log
        assert "could not be sent by Slack" in log
        task = site.task(run, "look")
        assert (task["state"], task["try_number"]) == ("success", 1)
        assert timedelta(seconds=task["duration"]) < timedelta(minutes=2)
