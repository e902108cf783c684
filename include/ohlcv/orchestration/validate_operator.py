"""The task that has candles checked, in the worker's own process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from ohlcv.config.catalog_properties import CATALOG_NAME
from ohlcv.model.intervals import Range
from ohlcv.model.table_contracts import NAMESPACE
from ohlcv.model.timeframes import Timeframe, get_timeframe

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

Asked = tuple[Timeframe, Range]
# What a run wants checked, given the run and, where it has days, the day.
Question = Callable[["Context", str], list[Asked]]


def asset_of(timeframe: Timeframe) -> Asset:
    """Give the asset a timeframe's table is in Airflow."""
    return Asset(name=timeframe.table, uri=f"{CATALOG_NAME}://{NAMESPACE}/{timeframe.table}", group="ohlcv")


def tell_assets(context: Context, events: Iterable[dict[str, Any]]) -> None:
    """Attach to each timeframe's asset what was checked and built."""
    for event in events:
        context["outlet_events"][asset_of(get_timeframe(event["timeframe"]))].extra = event


class ValidateOperator(BaseOperator):
    """Check ranges, tell the assets of them, and fail where a candle is not as its trades call for."""

    template_fields = ("day",)

    def __init__(self, *, asked: Question, day: str = "", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.asked = asked
        self.day = day

    def execute(self, context: Context) -> None:
        """Check."""
        asked = self.asked(context, self.day)
        # DuckDB and pyiceberg are loaded where the task runs, not where DAG files are parsed.
        from ohlcv.config.settings import load_settings
        from ohlcv.quality.report import asset_event_extra, failure_message, format_result
        from ohlcv.quality.validator import validate

        settings = load_settings()
        run_id = context["dag_run"].run_id
        verdicts = []
        for timeframe, own in asked:
            verdicts.append(validate(settings, timeframe, own, run_id))
            log.info("%s", format_result(verdicts[-1]))
        tell_assets(context, map(asset_event_extra, verdicts))
        if text := failure_message(verdicts):
            raise AirflowFailException(text)
