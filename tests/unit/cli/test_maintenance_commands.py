"""`ohlcv maintain` and `ohlcv retention` with record tables: what is recorded first, and the jobs submitted."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ohlcv.cli import maintain, retention
from ohlcv.config.maintained_tables import RECORD_TABLES
from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, open_catalog
from ohlcv.ledger import expiry
from ohlcv.ledger.reports import LedgerReport
from ohlcv.model.errors import OhlcvError
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES, Timeframe
from ohlcv.spark.spark_submit import JobResult, SparkJob
from support.ledger_rows import add_ledger_rows

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")

SINCE = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Installation:
    """Tables without rows, commands on them, the submitted jobs, and the recordings before each."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.environment = {"OHLCV_HOME": str(home)}
        self.settings = load_settings(self.environment)
        create_tables(self.settings)
        # The script arguments of the jobs.
        self.jobs: list[dict[str, str]] = []
        self.events: list[str] = []
        self.error: Exception | None = None
        self.gap: datetime | None = None
        for command in (maintain, retention):
            monkeypatch.setattr(command, "run", self._run)
        monkeypatch.setattr(expiry, "record", self._record)
        monkeypatch.setattr(expiry, "ledger_status", self._status)

    def call(self, command: Any, *arguments: str) -> Result:
        return CliRunner().invoke(command, arguments, env=self.environment, catch_exceptions=False)

    def _run(self, job: SparkJob, _: str) -> JobResult:
        arguments = dict(zip(job.arguments[::2], job.arguments[1::2], strict=True))
        self.jobs.append(arguments)
        name = arguments.get("--timeframe") or arguments["--table"]
        self.events.append(f"{arguments['--steps']} {name}")
        deleted = {"partitions": 1, "files": 1, "rows": 1}
        kind = "timeframe" if "--timeframe" in arguments else "table"
        return JobResult(0, json.dumps({kind: name, "compact": {}, "expire": {}, "delete": deleted}), "")

    def _record(self, settings: Settings, timeframe: Timeframe, catalog: object) -> LedgerReport:
        self.events.append(f"record {timeframe}")
        if self.error:
            raise self.error
        return LedgerReport(timeframe.name, gap=self.gap)

    def _status(self, settings: Settings, timeframe: Timeframe) -> Any:
        if self.error:
            raise self.error
        return type("Status", (), {"keep_since": SINCE if timeframe.name == "1m" else None})


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    return Installation(tmp_path, monkeypatch)


def test_maintenance_records_first_and_keeps_the_snapshots_that_the_ledger_needs(installation: Installation) -> None:
    result = installation.call(maintain.maintain, "--format", "json")
    assert result.exit_code == 0, result.output
    assert installation.events[:4] == ["record 1m", "compact,expire 1m", "record 5m", "compact,expire 5m"]
    # The record tables are maintained last, and have no ledger.
    assert installation.events[-5:] == [f"compact,expire {each}" for each in RECORD_TABLES]
    kept = {job.get("--timeframe") or job["--table"]: job.get("--keep-since") for job in installation.jobs}
    assert {name: time for name, time in kept.items() if time} == {"1m": "2026-03-01T12:00:00Z"}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OhlcvError("gold_ohlcv_publications is locked by x: wait"), "gold_ohlcv_publications is locked by x: wait"),
        (ValueError("a defect\nof the recorder"), "ValueError: a defect"),
    ],
)
def test_a_failed_recording_is_reported_and_does_not_stop_the_maintenance(
    installation: Installation, error: Exception, message: str
) -> None:
    installation.error = error
    result = installation.call(maintain.maintain, "--timeframe", "1m")
    assert result.exit_code == 0, result.output
    assert f"1m: the ledger was not recorded: {message}\n" in result.stderr
    [job] = installation.jobs
    # A ledger that cannot be read may need every snapshot.
    assert job["--keep-since"] == "1970-01-01T00:00:00Z"


def test_a_gap_that_maintenance_records_is_reported(installation: Installation) -> None:
    installation.gap = SINCE
    result = installation.call(maintain.maintain, "--timeframe", "1h")
    assert "1h: publications before 2026-03-01T12:00:00Z are lost: their snapshots had expired\n" in result.stderr
    assert "--keep-since" not in installation.jobs[0]


def test_retention_deletes_the_ledger_of_the_timeframe(installation: Installation) -> None:
    for name in ("1m", "5m"):
        add_ledger_rows(installation.settings, "revisions", name, "2020-01-05", "2020-02-05")
        add_ledger_rows(installation.settings, "publications", name, "2020-01-05", "2026-02-05")
    arguments = ("--timeframe", "1m", "--as-of", "2026-03-01", "--format", "json")
    dry = installation.call(retention.retention, *arguments, "--dry-run")
    found = [json.loads(line) for line in dry.stdout.splitlines()]
    assert [(each["table"], each["days"]) for each in found] == [
        ("gold_ohlcv_1m", []),
        ("gold_ohlcv_publications", ["1m:2020-01-01"]),
        ("gold_ohlcv_revisions", ["1m:2020-01-01", "1m:2020-02-01"]),
    ]
    assert installation.jobs == []
    assert "1m revisions" in installation.call(retention.retention, *arguments[:-2], "--dry-run").stdout
    result = installation.call(retention.retention, *arguments)
    assert result.exit_code == 0, result.output
    assert [(job["--table"], job["--steps"], job["--days"]) for job in installation.jobs] == [
        ("publications", "delete", "1m:2020-01-01"),
        ("revisions", "delete", "1m:2020-01-01,1m:2020-02-01"),
    ]


@pytest.mark.parametrize("name", RECORD_TABLES)
def test_without_a_record_table_the_other_tables_are_maintained(installation: Installation, name: str) -> None:
    contract = getattr(installation.settings, f"{name}_contract")
    open_catalog(installation.settings).drop_table(contract.identifier)
    result = installation.call(maintain.maintain, "--format", "json")
    assert result.exit_code == 0, result.output
    others = [each for each in RECORD_TABLES if each != name]
    recorded = "record {0}" if {"publications", "revisions"} <= set(others) else ""
    steps = [step.format(each) for each in DEFAULT_TIMEFRAMES for step in (recorded, "compact,expire {0}") if step]
    assert installation.events == [*steps, *(f"compact,expire {each}" for each in others)]
    [line] = result.stderr.splitlines()
    assert line.startswith(f"note: nothing is recorded or maintained of {name}: there is no table ")
    assert line.endswith(": run 'ohlcv tables create'")


@pytest.mark.parametrize("name", RECORD_TABLES)
def test_without_a_record_table_expired_candles_are_planned(installation: Installation, name: str) -> None:
    contract = getattr(installation.settings, f"{name}_contract")
    open_catalog(installation.settings).drop_table(contract.identifier)
    result = installation.call(retention.retention, "--dry-run", "--format", "json")
    assert result.exit_code == 0, result.output
    assert [json.loads(line)["timeframe"] for line in result.stdout.splitlines()] == list(DEFAULT_TIMEFRAMES)
    [line] = result.stderr.splitlines()
    assert line.startswith(f"note: nothing is deleted from {name}: there is no table ")
    assert line.endswith(": run 'ohlcv tables create'")
