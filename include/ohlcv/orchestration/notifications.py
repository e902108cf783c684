"""Notifications by email and Slack. A channel is used if its Airflow connection exists."""

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
# A server that does not respond must not block a task or the DAG processor.
SEND_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Notification:
    """Title, facts by name and links by name."""

    title: str
    facts: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...] = ()

    def as_html(self) -> str:
        """Return the HTML of an email, with all values escaped."""
        facts = "".join(
            f"<tr><td><b>{html.escape(name)}</b></td><td>{html.escape(text)}</td></tr>" for name, text in self.facts
        )
        links = "".join(
            f'<li><a href="{html.escape(address, quote=True)}">{html.escape(name)}</a></li>'
            for name, address in self.links
        )
        return f"<h3>{html.escape(self.title)}</h3><table>{facts}</table><ul>{links}</ul>"

    def as_slack(self) -> str:
        """Return the text of a Slack message, with Slack's three special characters escaped."""
        lines = [
            f"*{_escape_slack(self.title)}*",
            *(f"{_escape_slack(name)}: {_escape_slack(text)}" for name, text in self.facts),
        ]
        lines += [f"<{_escape_slack(address)}|{_escape_slack(name)}>" for name, address in self.links]
        return "\n".join(lines)


def _escape_slack(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def send_notification(notification: Notification) -> bool:
    """Send a notification by every configured channel. Return False if there are channels and all of them failed."""
    channels = {
        name: send
        for name, connection, send in (
            ("email", EMAIL_CONNECTION, _send_email),
            ("Slack", SLACK_CONNECTION, _send_slack_message),
        )
        if _has_connection(connection)
    }
    sent = [_send_with_timeout(name, send, notification) for name, send in channels.items()]
    return not channels or any(sent)


def _has_connection(connection: str) -> bool:
    try:
        BaseHook.get_connection(connection)
    except AirflowNotFoundException:
        return False
    return True


def _send_with_timeout(channel: str, send: Callable[[Notification], None], notification: Notification) -> bool:
    results: list[bool] = []

    def attempt() -> None:
        try:
            send(notification)
            results.append(True)
        except Exception as error:
            log.warning("the notification '%s' could not be sent by %s: %s", notification.title, channel, error)
            results.append(False)

    thread = threading.Thread(target=attempt, name=f"notification by {channel}", daemon=True)
    thread.start()
    thread.join(SEND_TIMEOUT_SECONDS)
    if not results:
        log.warning(
            "the notification '%s' was not sent: %s did not answer within %.0f s",
            notification.title,
            channel,
            SEND_TIMEOUT_SECONDS,
        )
    return bool(results and results[0])


def _send_email(notification: Notification) -> None:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    recipients = load_settings().alert_email
    if not recipients:
        raise ValueError("OHLCV_ALERT_EMAIL is not set: set it to the addresses of the recipients")
    with SmtpHook(EMAIL_CONNECTION) as hook:
        hook.send_email_smtp(
            to=list(recipients),
            from_email=hook.from_email or recipients[0],
            subject=notification.title,
            html_content=notification.as_html(),
        )


def _send_slack_message(notification: Notification) -> None:
    from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook

    hook = SlackWebhookHook(slack_webhook_conn_id=SLACK_CONNECTION, timeout=int(SEND_TIMEOUT_SECONDS))
    hook.send(text=notification.as_slack())
