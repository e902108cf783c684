"""Reference time of the deadlines of scheduled runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from airflow.sdk.definitions.deadline import BaseDeadlineReference


class ScheduledRunCreated(BaseDeadlineReference):
    """Time at which a scheduled run is created. Other runs have no deadline: backfilled runs wait for each other.

    Airflow stores the path of this class in serialized DAGs, so it must not be moved or renamed.

    Airflow's DAGRUN_QUEUED_AT cannot be used. In 3.3.2 a run that has such a deadline in the future cannot be cleared:
    Airflow reads the interval as a number, and it is not one.
    """

    required_kwargs: ClassVar[set[str]] = {"run_id"}

    def _evaluate_with(self, *, session: Any, run_id: str) -> datetime | None:  # noqa: ARG002  # Airflow's signature
        return datetime.now(UTC) if run_id.startswith("scheduled__") else None
