"""`airflow dags backfill`: its dates and its registration in Airflow's command line."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

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


@pytest.mark.parametrize(
    ("states", "paused", "line"),
    [
        ({"success": 2, "queued": 1}, False, "2 of 3 runs done, 1 queued"),
        ({"failed": 1, "running": 1}, False, "1 of 2 runs done, 1 failed, 1 running"),
        (
            {"success": 1, "skipped": 2},
            False,
            "3 of 3 runs done, 2 skipped (their interval has a run: --reprocess-behavior completed repeats "
            "completed runs)",
        ),
        ({"queued": 1}, True, "0 of 1 runs done, 1 queued (the DAG is paused: unpause it to start them)"),
    ],
)
def test_the_progress_names_states_and_what_to_do(states: dict[str, int], paused: bool, line: str) -> None:
    from ohlcv.orchestration.backfill_command import progress_line

    assert progress_line(Counter(states), paused) == line


def test_a_missing_database_is_one_line(tmp_path: Path) -> None:
    result = subprocess.run(
        [
            str(Path(sys.executable).with_name("airflow")),
            "dags",
            "backfill",
            "-s",
            "2026-01-30",
            "-e",
            "2026-01-31",
            "x",
        ],
        env={name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        | {"HOME": str(tmp_path), "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"error: the Airflow database sqlite:///{tmp_path}/airflow.db cannot be used (no such table")
    assert "ohlcv env" in last
