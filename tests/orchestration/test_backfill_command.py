"""`airflow dags backfill`: its dates and its registration in Airflow's command line."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

import pytest


def test_an_end_date_without_a_time_includes_that_day() -> None:
    from ohlcv.orchestration.backfill_command import parse_range

    assert parse_range("2026-01-30", "2026-01-31") == (
        datetime(2026, 1, 30, tzinfo=UTC),
        datetime(2026, 1, 31, 23, 59, 59, 999999, tzinfo=UTC),
    )
    # The same date as start and end is one whole day, not an empty range.
    first, last = parse_range("2026-01-31", "2026-01-31")
    assert (last - first).total_seconds() > 86_399


def test_a_time_is_not_extended() -> None:
    from ohlcv.orchestration.backfill_command import parse_range

    assert parse_range("2026-01-31T10:00", "2026-01-31T11:00:00+01:00") == (
        datetime(2026, 1, 31, 10, tzinfo=UTC),
        datetime(2026, 1, 31, 10, tzinfo=UTC),
    )


@pytest.mark.parametrize(("start", "end"), [("2026-02-01", "2026-01-31"), ("soon", "2026-01-31")])
def test_invalid_dates_are_rejected(start: str, end: str) -> None:
    from ohlcv.orchestration.backfill_command import parse_range

    with pytest.raises(argparse.ArgumentTypeError):
        parse_range(start, end)


def test_airflow_has_the_command_beside_its_own() -> None:
    from airflow.cli.cli_parser import get_parser

    parser = get_parser()
    values = parser.parse_args(["dags", "backfill", "-s", "2026-01-01", "-e", "2026-01-02", "ohlcv_1d", "--dry-run"])
    assert (values.dag_id, values.dry_run, values.max_active_runs) == ("ohlcv_1d", True, 1)
    assert parser.parse_args(["dags", "list-runs", "ohlcv_1d"]).dag_id == "ohlcv_1d"
