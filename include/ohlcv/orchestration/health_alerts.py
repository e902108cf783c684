"""What is told of health: a kind of trouble is one incident, whichever timeframes it reaches."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from ohlcv.model.timeframes import TIMEFRAMES
from ohlcv.orchestration.callbacks import NO_WORKERS, incident_of
from ohlcv.orchestration.incidents import close_incident, open_incident, standing
from ohlcv.orchestration.links import run_links
from ohlcv.orchestration.notifications import Notice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from ohlcv.monitoring.health import Measure

# Aspect of a measure -> section of the runbook. Causes come first: what follows from them is not told apart.
SECTIONS = {
    "workers": "a-spark-worker-is-missing",
    "candles": "stale-candles",
    "last job": "runs-too-slow",
    "runs in 24 h": "a-run-failed",
}
OTHER_SECTION = "daily-health-check"
# A day's runs stay failed after their cause has ended: where that has been told, they are not told again.
HISTORY = "runs in 24 h"


def judge(measures: Sequence[Measure], context: Context) -> list[str]:
    """Open and close the incidents of health; give what is in alert."""
    order = list(SECTIONS)
    ranked = sorted(measures, key=lambda each: order.index(each.aspect) if each.aspect in order else len(order))
    for aspect, group in groupby(ranked, key=lambda each: each.aspect):
        _judge_aspect(aspect, list(group), measures, context)
    return [f"{measure.subject} {measure.aspect}" for measure in measures if measure.state == "alert"]


def _judge_aspect(aspect: str, group: list[Measure], measures: Sequence[Measure], context: Context) -> None:
    key = f"health:{aspect}"
    bad = [measure for measure in group if measure.state == "alert"]
    if bad:
        run = context["dag_run"]
        notice = Notice(
            f"OHLCV health: {_title(aspect, bad)}",
            _facts(bad),
            run_links(run.dag_id, run.run_id, SECTIONS.get(aspect, OTHER_SECTION)),
        )
        open_incident(key, notice, follows=_follows(aspect, bad))
        return
    stale = any(measure.aspect == "candles" and measure.state == "alert" for measure in measures)
    # Workers that are back have not mended anything yet: the incident ends with what followed from it.
    if all(measure.state == "unknown" for measure in group) or (key == NO_WORKERS and stale):
        return
    good = [measure for measure in group if measure.state != "unknown"]
    close_incident(
        key,
        lambda since: Notice(
            f"OHLCV health: {_title(aspect, good)} good again", (*_facts(good), ("In alert since", since))
        ),
    )


def _follows(aspect: str, bad: list[Measure]) -> bool:
    if aspect not in SECTIONS or aspect == "workers":
        return False
    found = standing(f"health:{aspect}")
    if aspect == HISTORY and found and found.follows:
        return True
    cause = standing(NO_WORKERS)
    return bool(cause and cause.told) or all(_runs_fail(measure.subject) for measure in bad)


def _runs_fail(subject: str) -> bool:
    found = standing(incident_of(TIMEFRAMES[subject].dag_id, "scheduled")) if subject in TIMEFRAMES else None
    return bool(found and (found.told or found.follows))


def _title(aspect: str, measures: list[Measure]) -> str:
    return f"{', '.join(measure.subject for measure in measures)} {aspect}"


def _facts(measures: list[Measure]) -> tuple[tuple[str, str], ...]:
    return tuple((measure.subject, f"{measure.found}; should be: {measure.target}") for measure in measures)
