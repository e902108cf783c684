"""What is told, and its ways to people: email and Slack, each where its connection is there."""

from __future__ import annotations

import html
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from ohlcv.config.settings import load_settings

log = logging.getLogger(__name__)

EMAIL_CONNECTION = "smtp_default"
SLACK_CONNECTION = "slack_default"
# A dead server must not hold a task or the DAG processor up: after this a message is given up.
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Notice:
    """What is told: a title, facts by name, and links by name."""

    title: str
    facts: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...] = ()

    def as_html(self) -> str:
        """Write it for an email; what comes from outside is escaped."""
        facts = "".join(
            f"<tr><td><b>{html.escape(name)}</b></td><td>{html.escape(text)}</td></tr>" for name, text in self.facts
        )
        links = "".join(
            f'<li><a href="{html.escape(address, quote=True)}">{html.escape(name)}</a></li>'
            for name, address in self.links
        )
        return f"<h3>{html.escape(self.title)}</h3><table>{facts}</table><ul>{links}</ul>"

    def as_slack(self) -> str:
        """Write it for Slack, whose three special characters are escaped."""
        lines = [f"*{_slack(self.title)}*", *(f"{_slack(name)}: {_slack(text)}" for name, text in self.facts)]
        lines += [f"<{_slack(address)}|{_slack(name)}>" for name, address in self.links]
        return "\n".join(lines)


def _slack(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def deliver(notice: Notice) -> bool:
    """Send a notice by every channel that has a connection; false where all of them failed."""
    channels = {
        name: send
        for name, connection, send in (
            ("email", EMAIL_CONNECTION, _email),
            ("Slack", SLACK_CONNECTION, _slack_message),
        )
        if _has(connection)
    }
    sent = [_within_seconds(name, send, notice) for name, send in channels.items()]
    return not channels or any(sent)


def _has(connection: str) -> bool:
    try:
        BaseHook.get_connection(connection)
    except AirflowNotFoundException:
        return False
    return True


def _within_seconds(channel: str, send: Callable[[Notice], None], notice: Notice) -> bool:
    done: list[bool] = []

    def attempt() -> None:
        try:
            send(notice)
            done.append(True)
        except Exception as error:
            log.warning("the alert '%s' could not be sent by %s: %s", notice.title, channel, error)
            done.append(False)

    thread = threading.Thread(target=attempt, name=f"alert by {channel}", daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    if not done:
        log.warning("the alert '%s' was given up: %s did not answer in %.0f s", notice.title, channel, PATIENCE_SECONDS)
    return bool(done and done[0])


def _email(notice: Notice) -> None:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    recipients = load_settings().alert_email
    if not recipients:
        raise ValueError("OHLCV_ALERT_EMAIL names nobody")
    with SmtpHook(EMAIL_CONNECTION) as hook:
        hook.send_email_smtp(
            to=list(recipients),
            from_email=hook.from_email or recipients[0],
            subject=notice.title,
            html_content=notice.as_html(),
        )


def _slack_message(notice: Notice) -> None:
    from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook

    SlackWebhookHook(slack_webhook_conn_id=SLACK_CONNECTION, timeout=int(PATIENCE_SECONDS)).send(text=notice.as_slack())
