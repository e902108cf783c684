"""Document of the quality page: the newest verdicts of each timeframe."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ohlcv.config.settings import Settings
from ohlcv.quality.rules import RULES
from ohlcv.web.airflow_reader import NOT_CONFIGURED, VERDICTS, Verdict, airflow_document, airflow_reader

log = logging.getLogger(__name__)

# Fields that the document takes over from a verdict.
FIELDS = ("at", "passed", "ranges", "candles", "trades", "failures", "warnings", "findings", "notes")


def read_quality(settings: Settings, timeframes: Sequence[str]) -> dict[str, Any]:
    """Return the newest verdicts of the timeframes, newest first. Waits at most a few seconds for Airflow."""
    reader = airflow_reader(settings)
    found, problem = (None, NOT_CONFIGURED) if reader is None else reader.verdicts.get()
    entries = list(_documents(found or ()))
    return {
        "airflow": airflow_document(problem),
        "timeframes": [
            {
                "name": name,
                "dag_id": settings.timeframe(name).dag_id,
                "verdicts": [document for timeframe, document in entries if timeframe == name][:VERDICTS],
            }
            for name in timeframes
        ],
    }


def _documents(verdicts: Iterable[Verdict]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield timeframe and document of each entry."""
    for verdict in verdicts:
        origin = {"dag_id": verdict.dag_id, "run_id": verdict.run_id, "map_index": verdict.map_index}
        try:
            for entry in verdict.value:
                fields = {name: entry[name] for name in FIELDS}
                rules = {name: _describe(name, rule) for name, rule in entry["rules"].items()}
                yield entry["timeframe"], {**origin, **fields, "rules": rules}
        except (LookupError, TypeError, AttributeError):
            # A custom XCom backend stores a reference instead of the value.
            log.warning("the verdict of %(dag_id)s %(run_id)s cannot be read", origin)


def _describe(name: str, rule: dict[str, Any]) -> dict[str, Any]:
    """Return the count of a rule with its description, which is not persisted."""
    return {**rule, "description": RULES[name].invariant if name in RULES else name}
