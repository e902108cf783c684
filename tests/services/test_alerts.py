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

from faults.processes import command_line, wait_for
from ohlcv.local_process import HOST, descendants, free_port
from ohlcv.timeframes import DAY
from ohlcv.windows import HOUR, floor_time, iso
from services_lab import POLL_SECONDS, Run, Site, running_site

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


@pytest.fixture(scope="module")
def watched(
    tmp_path_factory: pytest.TempPathFactory, mailbox: tuple[Mailbox, int], hook: tuple[list[str], str]
) -> Iterator[Site]:
    smtp = {"disable_ssl": True, "disable_tls": True, "from_email": "ohlcv@example.com"}
    environment = {
        "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(
            {"conn_type": "smtp", "host": "127.0.0.1", "port": mailbox[1], "extra": smtp}
        ),
        "AIRFLOW_CONN_SLACK_DEFAULT": json.dumps({"conn_type": "slackwebhook", "password": hook[1]}),
        "OHLCV_ALERT_EMAIL": "team@example.com, night@example.com",
        "OHLCV_RUNBOOK_URL": "https://wiki.example.com/ohlcv",
    }
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


def test_a_missing_worker_is_alerted_once_and_its_return_once(watched: Site, mailbox: tuple[Mailbox, int]) -> None:
    box = mailbox[0]
    watched.airflow.unpause("ohlcv_health")
    for run in watched.runs("ohlcv_health"):
        watched.ended(run)
    name, worker = next((n, p) for n, p in watched.cluster.processes.items() if n.startswith("worker"))
    worker.kill()
    worker.wait()
    del watched.cluster.processes[name]
    wait_for(lambda: "ALIVE" not in watched.worker_states(), "the master misses it", POLL_SECONDS)
    for _ in range(2):
        run = health_run(watched)
        assert "alert    Spark workers: 0 alive" in watched.log(run, "look")
    watched.cluster.add_worker(f"{name}-again", 1, "1g")
    health_run(watched)
    about = [title for title in box.titles() if "Spark workers" in title]
    assert about == ["OHLCV health: Spark workers", "OHLCV health: Spark workers is good again"]


def test_a_dead_mail_server_changes_no_run(tmp_path: Path) -> None:
    dead = {
        "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps({"conn_type": "smtp", "host": "127.0.0.1", "port": 1}),
        "OHLCV_ALERT_EMAIL": "team@example.com",
    }
    with running_site(tmp_path, environment=dead) as site:
        site.feed(BEGIN, TODAY, 1_000)
        site.airflow.unpause("ohlcv_health")
        run = site.first_scheduled("ohlcv_health")
        assert "could not be sent by email" in site.log(run, "look")
        task = site.task(run, "look")
        assert (task["state"], task["try_number"]) == ("success", 1)
        assert timedelta(seconds=task["duration"]) < timedelta(minutes=2)
