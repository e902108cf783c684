"""Incidents of the health checks: one per aspect, however many timeframes it affects.

Held series have one per timeframe, missing data one per exchange. They neither suppress other incidents nor are
suppressed by them.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from ohlcv.model.timeframes import TIMEFRAMES
from ohlcv.orchestration.callbacks import (
    COVERAGE_DAG,
    COVERAGE_SECTION,
    LEDGER_DAG,
    LEDGER_SECTION,
    WORKERS_INCIDENT,
    incident_key,
)
from ohlcv.orchestration.incidents import close_incident, key_part, open_incident, read_incident
from ohlcv.orchestration.links import run_links
from ohlcv.orchestration.notifications import Notification

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from ohlcv.monitoring.measurements import Measurement

# Aspect of a measurement -> section of docs/runbook.md. Causes precede their consequences, which are suppressed.
SECTIONS = {
    "workers": "a-spark-worker-is-missing",
    "candles": "stale-candles",
    "last job": "runs-too-slow",
    "runs in 24 h": "a-run-failed",
    "held series": "candles-are-held-back-or-a-run-was-rejected",
    "ledger": LEDGER_SECTION,
    "coverage": COVERAGE_SECTION,
    "data": "an-exchange-has-no-data",
}
# Airflow does not answer, or does not know the DAG.
NOT_MEASURED_SECTION = "runs-are-not-measured"
# The failed runs of a day are counted for 24 hours, also after their cause has ended. An incident of this aspect that
# was suppressed once stays suppressed.
RUN_HISTORY_ASPECT = "runs in 24 h"
# Each subject, a timeframe or an exchange, has an incident of its own, which no other incident explains.
OWN_ASPECTS = ("held series", "data")
# Failing runs of the DAG explain it, and nothing else does.
RECORDING_DAGS = {"ledger": LEDGER_DAG, "coverage": COVERAGE_DAG}


def evaluate(measurements: Sequence[Measurement], context: Context) -> list[str]:
    """Open and close the incidents of the health checks. Return the names of the measurements in alert."""
    order = list(SECTIONS)
    ranked = sorted(measurements, key=lambda each: order.index(each.aspect) if each.aspect in order else len(order))
    for key, group in groupby(ranked, key=_incident_key):
        _evaluate_group(key, list(group), measurements, context)
    return [f"{each.subject} {each.aspect}" for each in measurements if each.state == "alert"]


def _incident_key(measurement: Measurement) -> str:
    key = f"health:{measurement.aspect}"
    return f"{key}:{key_part(measurement.subject)}" if measurement.aspect in OWN_ASPECTS else key


def _evaluate_group(key: str, group: list[Measurement], measurements: Sequence[Measurement], context: Context) -> None:
    aspect = group[0].aspect
    alerts = [each for each in group if each.state == "alert"]
    if alerts:
        run = context["dag_run"]
        notification = Notification(
            f"OHLCV health: {_title(aspect, alerts)}",
            _facts(alerts),
            run_links(run.dag_id, run.run_id, SECTIONS.get(aspect, NOT_MEASURED_SECTION)),
        )
        open_incident(key, notification, suppressed=_has_notified_cause(aspect, alerts))
        return
    stale = any(each.aspect == "candles" and each.state == "alert" for each in measurements)
    # The incident of missing workers stays open until the candles are up to date again, because it suppresses theirs.
    if all(each.state == "unknown" for each in group) or (key == WORKERS_INCIDENT and stale):
        return
    good = [each for each in group if each.state != "unknown"]
    close_incident(
        key,
        lambda since: Notification(
            f"OHLCV health: {_title(aspect, good)} recovered", (*_facts(good), ("In alert since", since))
        ),
    )


def _has_notified_cause(aspect: str, alerts: list[Measurement]) -> bool:
    if aspect not in SECTIONS or aspect in ("workers", *OWN_ASPECTS):
        return False
    if aspect in RECORDING_DAGS:
        cause = read_incident(incident_key(RECORDING_DAGS[aspect], "scheduled"))
        return bool(cause and cause.notified)
    incident = read_incident(f"health:{aspect}")
    if aspect == RUN_HISTORY_ASPECT and incident and incident.suppressed:
        return True
    cause = read_incident(WORKERS_INCIDENT)
    return bool(cause and cause.notified) or all(_runs_fail(each.subject) for each in alerts)


def _runs_fail(subject: str) -> bool:
    if subject not in TIMEFRAMES:
        return False
    incident = read_incident(incident_key(TIMEFRAMES[subject].dag_id, "scheduled"))
    return bool(incident and (incident.notified or incident.suppressed))


def _title(aspect: str, measurements: list[Measurement]) -> str:
    return f"{', '.join(each.subject for each in measurements)} {aspect}"


def _facts(measurements: list[Measurement]) -> tuple[tuple[str, str], ...]:
    return tuple((each.subject, f"{each.found}; target: {each.target}") for each in measurements)
