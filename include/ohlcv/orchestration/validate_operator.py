"""Operator that validates candles in the worker's own process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.intervals import Range
from ohlcv.model.timeframes import Timeframe, get_timeframe
from ohlcv.quality.report import VERDICT_KEY

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

ValidationTarget = tuple[Timeframe, Range]
# Function that returns what a run validates, given its context and, in a mapped task, its day.
TargetResolver = Callable[["Context", str], list[ValidationTarget]]


def asset_of(settings: Settings, timeframe: Timeframe) -> Asset:
    """Return the Airflow asset of a candle table."""
    contract = settings.candles_contract(timeframe)
    # Airflow accepts only ASCII characters.
    place = "/".join(map(quote, contract.identifier))
    return Asset(name=contract.name, uri=f"iceberg://{place}", group="ohlcv")


def update_assets(context: Context, settings: Settings, events: Iterable[dict[str, Any]]) -> None:
    """Add an event with range, counts and verdict to the asset of each validated table."""
    for event in events:
        context["outlet_events"][asset_of(settings, get_timeframe(event["timeframe"]))].extra = event


def publish(context: Context, settings: Settings, report: Mapping[str, Any]) -> None:
    """Persist the verdicts of a run, then add events to the assets, or fail if a rule failed."""
    # Airflow drops the asset events of a failed task, but keeps its XComs until the next try.
    context["ti"].xcom_push(key=VERDICT_KEY, value=report["verdicts"])
    if report["complaint"]:
        raise AirflowFailException(report["complaint"])
    update_assets(context, settings, report["events"])


class ValidateOperator(BaseOperator):
    """Validate ranges of candles, persist the verdict, add events to the assets, and fail if a rule fails."""

    template_fields = ("day",)

    def __init__(self, *, resolve_targets: TargetResolver, day: str = "", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.resolve_targets = resolve_targets
        self.day = day

    def execute(self, context: Context) -> None:
        """Validate the targets of the run."""
        targets = self.resolve_targets(context, self.day)
        # DuckDB and pyiceberg are imported when the task runs, not when DAG files are parsed.
        from ohlcv.quality.report import format_result, run_report
        from ohlcv.quality.validator import validate

        settings = load_settings()
        run_id = context["dag_run"].run_id
        results = []
        for timeframe, target_range in targets:
            results.append(validate(settings, timeframe, target_range, run_id))
            log.info("%s", format_result(results[-1]))
        publish(context, settings, run_report(results, datetime.now(UTC)))
