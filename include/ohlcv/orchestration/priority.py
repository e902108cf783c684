"""Priority of tasks that wait for the pool: schedule before backfills, small timeframes before large ones.

Among tasks of equal weight Airflow prefers the older logical date, so a backfill would starve the schedule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.task.priority_strategy import PriorityWeightStrategy
from airflow.utils.types import DagRunType

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance

# Larger than the weight of any task, so that every scheduled task precedes every backfilled one.
SCHEDULE_BONUS = 1_000


class ScheduleFirst(PriorityWeightStrategy):
    """Weight of the task, plus a bonus in every run that is not part of a backfill.

    Airflow stores the path of this class in serialized DAGs, so it must not be moved or renamed.
    """

    def get_weight(self, ti: TaskInstance) -> int:
        """Return the weight of a task instance."""
        # An instance that is not attached to its run yet is classified by its run id.
        run = ti.__dict__.get("dag_run")
        run_type = run.run_type if run is not None else DagRunType.from_run_id(ti.run_id)
        weight: int = ti.task.priority_weight if ti.task is not None else 1
        return weight if run_type == DagRunType.BACKFILL_JOB else weight + SCHEDULE_BONUS
