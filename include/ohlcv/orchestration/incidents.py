"""Incidents: each is told once when it begins and once when it ends, however many ticks and processes see it.

An incident stands as long as its Airflow variable is there, so that every process of Airflow knows of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from airflow.sdk import Variable

from ohlcv.model.intervals import iso
from ohlcv.orchestration.notifications import Notice, deliver

VARIABLE = "ohlcv_incident:"


@dataclass(frozen=True)
class Incident:
    """What is known of an incident that has not ended."""

    since: str
    # Somebody was told; false where it follows from another incident, or every message failed.
    told: bool
    # It follows from another incident, which has been told.
    follows: bool
    error: str


def standing(key: str) -> Incident | None:
    """Give an incident that has not ended."""
    found = Variable.get(VARIABLE + key, default=None)
    return None if found is None else Incident(**json.loads(found))


def open_incident(key: str, notice: Notice, *, error: str = "", follows: bool = False) -> None:
    """Tell of an incident, unless that has been done or it follows from one that has been told.

    What only followed, and goes on when the other has ended, is told then; what nobody could be told is tried again.
    """
    found = standing(key)
    if found and found.told:
        return
    told = not follows and deliver(notice)
    since = found.since if found else iso(datetime.now(UTC))
    Variable.set(VARIABLE + key, json.dumps(asdict(Incident(since, told, follows, error))))


def close_incident(key: str, recovery: Callable[[str], Notice]) -> None:
    """End an incident, and tell those who were told of it; the notice is made of the time it began."""
    found = standing(key)
    if found is not None:
        Variable.delete(VARIABLE + key)
        if found.told:
            deliver(recovery(found.since))


def gist(error: str) -> str:
    """Give what two errors of one cause share: not the task's name, nor details in brackets."""
    return re.sub(r" \(.*?\)", "", error.partition(": ")[2]).strip()
