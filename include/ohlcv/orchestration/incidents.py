"""Incidents, which deduplicate notifications: one when an incident begins and one when it ends.

An open incident is an Airflow Variable, so all of Airflow's processes share it and it survives restarts and upgrades.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote

from airflow.sdk import Variable

from ohlcv.model.intervals import iso
from ohlcv.orchestration.notifications import Notification, send_notification

VARIABLE_PREFIX = "ohlcv_incident:"
# Four of them fit into a key.
MAX_PART = 50


@dataclass(frozen=True)
class Incident:
    """An open incident."""

    since: str
    # False if the incident is suppressed, or if every channel failed.
    notified: bool
    # The incident is a consequence of another one, for which a notification was sent.
    suppressed: bool
    error: str

    @classmethod
    def from_json(cls, text: str) -> Incident:
        """Build an incident from its Variable. The JSON field names are persisted and must not change."""
        stored = json.loads(text)
        return cls(since=stored["since"], notified=stored["told"], suppressed=stored["follows"], error=stored["error"])

    def to_json(self) -> str:
        """Return the value of the incident's Variable."""
        return json.dumps({"since": self.since, "told": self.notified, "follows": self.suppressed, "error": self.error})


def read_incident(key: str) -> Incident | None:
    """Return an open incident, or None."""
    stored = Variable.get(VARIABLE_PREFIX + key, default=None)
    return None if stored is None else Incident.from_json(stored)


def open_incident(key: str, notification: Notification, *, error: str = "", suppressed: bool = False) -> None:
    """Open an incident and send its notification, unless one was sent already or the incident is suppressed.

    The notification is sent later if the incident is no longer suppressed, or if every channel failed before.
    """
    incident = read_incident(key)
    if incident and incident.notified:
        return
    notified = not suppressed and send_notification(notification)
    since = incident.since if incident else iso(datetime.now(UTC))
    Variable.set(VARIABLE_PREFIX + key, Incident(since, notified, suppressed, error).to_json())


def close_incident(key: str, recovery: Callable[[str], Notification]) -> None:
    """Close an incident, and send a recovery notification if its beginning was notified.

    `recovery` builds the notification from the time at which the incident began.
    """
    incident = read_incident(key)
    if incident is not None:
        Variable.delete(VARIABLE_PREFIX + key)
        if incident.notified:
            send_notification(recovery(incident.since))


def key_part(name: str) -> str:
    """Return a name, such as that of an exchange, as a part of a key. Names of our own stay as they are.

    The key of a Variable has at most 250 characters, and is a part of the path of requests.
    """
    quoted = quote(name, safe=" ")
    return quoted if len(quoted) <= MAX_PART else f"{quoted[: MAX_PART - 17]}~{sha256(name.encode()).hexdigest()[:16]}"


def error_fingerprint(error: str) -> str:
    """Return the part of an error that is the same in all tasks: without the task id and details in brackets."""
    return re.sub(r" \(.*?\)", "", error.partition(": ")[2]).strip()
