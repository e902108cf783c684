"""Receivers of notifications: a mail server and a web hook that record what they get."""

from __future__ import annotations

import email
import email.policy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from aiosmtpd.controller import Controller

from ohlcv.spark.processes import HOST, free_port


@dataclass
class Receivers:
    """The mails and Slack messages of one installation, in the order of their arrival."""

    environment: dict[str, str]
    mails: list[Any] = field(default_factory=list)
    slack_texts: list[str] = field(default_factory=list)

    def mails_about(self, subject: str) -> list[Any]:
        """Return the mails whose subject line contains a text."""
        return [mail for mail in self.mails if subject in mail["subject"]]

    def subjects(self, about: str = "") -> list[str]:
        return [str(mail["subject"]) for mail in self.mails_about(about)]

    def slack_texts_about(self, subject: str) -> list[str]:
        """Return the Slack messages whose first line contains a text."""
        return [text for text in self.slack_texts if subject in text.splitlines()[0]]


class MailHandler:
    """The part of aiosmtpd's server that receives mails."""

    def __init__(self, mails: list[Any]) -> None:
        self.mails = mails

    async def handle_DATA(  # noqa: N802  # aiosmtpd's name
        self, server: object, session: object, envelope: Any
    ) -> str:
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


@contextmanager
def running_receivers() -> Iterator[Receivers]:
    """Start a mail server and a web hook, and stop them when the block ends."""
    receivers = Receivers({})

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receivers.slack_texts.append(json.loads(body)["text"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: object) -> None:
            pass

    mail_server = Controller(MailHandler(receivers.mails), hostname=HOST, port=free_port())
    hook_server = HTTPServer((HOST, 0), Hook)
    hook_thread = threading.Thread(target=hook_server.serve_forever)
    mail_server.start()
    hook_thread.start()
    smtp = {"disable_ssl": True, "disable_tls": True, "from_email": "ohlcv@example.com"}
    hook_address = f"http://{HOST}:{hook_server.server_port}/services/T/B/x"
    receivers.environment = {
        "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(
            {"conn_type": "smtp", "host": HOST, "port": mail_server.port, "extra": smtp}
        ),
        "AIRFLOW_CONN_SLACK_DEFAULT": json.dumps({"conn_type": "slackwebhook", "password": hook_address}),
        "OHLCV_ALERT_EMAIL": "team@example.com, night@example.com",
        "OHLCV_RUNBOOK_URL": "https://wiki.example.com/ohlcv",
    }
    try:
        yield receivers
    finally:
        mail_server.stop()
        hook_server.shutdown()
        hook_thread.join()
        hook_server.server_close()
