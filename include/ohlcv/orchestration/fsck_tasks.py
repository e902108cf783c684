"""Task that checks the files of the tables weekly; damaged files fail it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.intervals import parse_time
from ohlcv.orchestration.parameters import invalid_input_fails
from ohlcv.orchestration.priority import ScheduleFirst

if TYPE_CHECKING:
    from ohlcv.integrity.findings import TableCheck
    from ohlcv.integrity.repairs import CheckedTable

log = logging.getLogger(__name__)

# A terabyte at 50 MiB per second; two cores read 136 MiB in 1.5 s.
TIMEOUT = timedelta(hours=6)


def fsck_task() -> Any:
    """Build the task that checks the tables of a run."""

    @task(
        task_id="fsck",
        retries=1,
        execution_timeout=TIMEOUT,
        weight_rule=ScheduleFirst(),
        doc_md="Read the files of the tables completely. A damaged file fails the task, without another try.",
    )
    def fsck() -> None:
        settings, params = load_settings(), get_current_context()["params"]
        # pyiceberg is imported when the task runs, not when DAG files are parsed.
        from ohlcv.integrity.check import check_tables

        reports = []
        for report in check_tables(settings, chosen_tables(settings, params), since(params), log.info):
            log.info("%s", format_report(report))
            for damage in report.damages:
                log.log(logging.WARNING if damage.is_past else logging.ERROR, "%s: %s", report.table, damage.line)
            reports.append(report)
        if error := summarize(reports):
            raise AirflowFailException(error)

    return fsck()


def chosen_tables(settings: Settings, params: Mapping[str, Any]) -> list[CheckedTable]:
    """Return the tables that the parameters of a run choose."""
    from ohlcv.integrity.repairs import checked_tables

    return [
        each
        for each in checked_tables(settings)
        if (each.subject in params["timeframes"] if each.role == "candles" else params[each.role])
    ]


def since(params: Mapping[str, Any]) -> datetime | None:
    """Return the time from which data files are read, None for all."""
    with invalid_input_fails():
        return parse_time(params["since"])[0] if params["since"] else None


def format_report(report: TableCheck) -> str:
    """Return the line of a table for the log."""
    read = f"{report.files_read:,} of {report.files:,} files read ({report.bytes_read / 2**20:,.0f} MiB)"
    unsure = f", {report.without_checksums:,} without checksums" if report.without_checksums else ""
    return f"{report.table}: {read}{unsure}, {len(report.damages):,} damaged; {report.seconds:.1f} s"


def summarize(reports: Iterable[TableCheck]) -> str | None:
    """Return one line about the damaged files, None if the current states are intact."""
    damages = [damage for report in reports for damage in report.damages if not damage.is_past]
    if not damages:
        return None
    others = f"; and {len(damages) - 1:,} more damaged files in the log" if len(damages) > 1 else ""
    return f"{damages[0].table or 'catalog'}: {damages[0].line}{others}"
