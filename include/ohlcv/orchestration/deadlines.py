"""From when a run's deadline counts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from airflow.sdk.definitions.deadline import BaseDeadlineReference


class ScheduledRunCreated(BaseDeadlineReference):
    """The moment a scheduled run is created; no other run has a deadline, backfilled ones wait for each other.

    Not Airflow's DAGRUN_QUEUED_AT: in 3.3.2 a run with such a deadline ahead of it cannot be cleared (its interval is
    read as a number, and is none).
    """

    required_kwargs: ClassVar[set[str]] = {"run_id"}

    def _evaluate_with(self, *, session: Any, run_id: str) -> datetime | None:  # noqa: ARG002  # Airflow's signature
        return datetime.now(UTC) if run_id.startswith("scheduled__") else None
