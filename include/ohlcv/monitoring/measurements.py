"""Results of the health checks. Incidents and dashboards store the names of aspects: they must not change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "alert", "quiet", "unknown"]
# What a check of the doctor found.
Finding = tuple[Literal["ok", "warning", "unused"], str]


@dataclass(frozen=True)
class Measurement:
    """Result of one check: the subject and its aspect, what was found, its target and its state."""

    subject: str
    aspect: str
    found: str
    target: str
    state: State
    # The result as a number for dashboards: seconds, a share, series, publications, workers or bytes.
    value: float | None = None
    # Where the result is a number of open cases: seconds since the oldest one began, 0 without any.
    oldest_seconds: float | None = None
