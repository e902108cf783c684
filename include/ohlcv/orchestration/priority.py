"""Which waiting task gets the pool's slot: the schedule before backfills, small timeframes before large ones.

Airflow by itself prefers the older logical date among equal weights, so that a backfill starves the schedule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.task.priority_strategy import PriorityWeightStrategy
from airflow.utils.types import DagRunType

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance

# More than any task's own weight, so that every scheduled task comes before every backfilled one.
SCHEDULE_BONUS = 1_000


class ScheduleFirst(PriorityWeightStrategy):
    """A task's own weight, and a bonus for every run that is not a backfill's."""

    def get_weight(self, ti: TaskInstance) -> int:
        """Weigh a task instance; it may not be attached to its run yet, then the run's id tells its type."""
        run = ti.__dict__.get("dag_run")
        run_type = run.run_type if run is not None else DagRunType.from_run_id(ti.run_id)
        weight: int = ti.task.priority_weight if ti.task is not None else 1
        return weight if run_type == DagRunType.BACKFILL_JOB else weight + SCHEDULE_BONUS
