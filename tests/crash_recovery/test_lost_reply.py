"""Lost replies of a PostgreSQL catalog: the commit succeeds, the candles are correct, and no live file is deleted.

After a lost reply Iceberg's JDBC pool repeats the UPDATE, which changes no row, so Iceberg can mistake its own commit
for a conflict. Some kinds of commits then delete the files of the successful commit
(docs/decisions/2026-11-21-upsert-by-overwrite.md).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow.parquet as pq
import pytest
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from ohlcv.demo.local_postgres import PostgresServer, postgres_server
from ohlcv.iceberg.snapshot_summary import job_summary, main_snapshots
from ohlcv.model import summary_keys
from ohlcv.model.errors import OhlcvError
from ohlcv.quality.audit import Audit, AuditResult
from spark_jobs.iceberg import staging
from support.databases import catalog_environment, new_database
from support.dropping_proxy import DroppingProxy
from support.harness import Harness, at, trade
from support.reference_model import Trade

# The statement with which Iceberg's JDBC catalog commits to an existing table.
COMMIT = b"UPDATE iceberg_tables"

# pyiceberg does not close the connections of its catalogs. The garbage collector does.
pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")

DAY = at("2026-03-01 00:00")
NEXT = at("2026-03-02 00:00")
AFTER = at("2026-03-03 00:00")


@dataclass(frozen=True)
class ProxiedHarness:
    """A harness that reaches its catalog through the proxy."""

    harness: Harness
    proxy: DroppingProxy


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres_server(tmp_path_factory.mktemp("postgres"), volatile=True) as running:
        yield running


@pytest.fixture
def proxied(spark: SparkSession, server: PostgresServer, tmp_path: Path) -> Iterator[ProxiedHarness]:
    with DroppingProxy(server.port) as proxy:
        environment = catalog_environment(server, new_database(server), proxy.port)
        yield ProxiedHarness(Harness(spark, tmp_path / "home", environment), proxy)
        gc.collect()


@dataclass(frozen=True)
class Case:
    """A run whose commit reply is lost, and the preparation of its table."""

    timeframe: str
    prepare: Callable[[Harness], None]
    end: datetime
    rebuild_pending: bool = False

    def run(self, harness: Harness) -> dict[str, Any]:
        start = self.end - timedelta(days=1)
        return harness.build(self.timeframe, start, self.end, rebuild_pending=self.rebuild_pending)


def some_trades(start: datetime = DAY, hours: int = 6, step: int = 47, price: int = 100) -> list[Trade]:
    return [
        trade(
            start + timedelta(seconds=second), f"{price + second % 13}.{second % 7}", f"0.{second % 97 + 1}", symbol=s
        )
        for s in ("BTC-USD", "ETH-USD")
        for second in range(0, hours * 3600, step)
    ]


def first_insert(harness: Harness) -> None:
    harness.load(some_trades())


def update(harness: Harness) -> None:
    """Build a day, then load late trades into some of its windows."""
    harness.load(some_trades())
    harness.build("1m", DAY, NEXT)
    harness.load([trade(DAY + timedelta(minutes=7 * n, seconds=3), "777", trade_id=f"late-{n}") for n in range(40)])


def month(harness: Harness) -> None:
    """Build the first day of a month, then load trades of the second day."""
    harness.load(some_trades())
    harness.build("1d", DAY, NEXT)
    harness.load(some_trades(NEXT))


def nothing_to_change(harness: Harness) -> None:
    """Build a day, then load duplicates of its trades, so that only the source checkpoint changes."""
    harness.load(some_trades())
    harness.build("1m", DAY, NEXT, rebuild_pending=True)
    harness.load(harness.trades[::5])


CASES = {
    "first insert": Case("1m", first_insert, NEXT),
    "update": Case("1m", update, NEXT),
    "month": Case("1d", month, AFTER),
    "checkpoint only": Case("1m", nothing_to_change, NEXT, rebuild_pending=True),
}


class Moment(Enum):
    """The commit whose reply is lost. A run that changes only the checkpoint has one commit, which is the first."""

    BRANCH = "branch"
    CANDIDATE = "candidate"
    PUBLICATION = "publication"


# The commits that each case has: the first commit of an empty table begins its branch.
MOMENTS = {
    "first insert": (Moment.BRANCH, Moment.PUBLICATION),
    "update": tuple(Moment),
    "month": tuple(Moment),
    "checkpoint only": (Moment.BRANCH,),
}
# The case in the tests of every commit.
QUICK = ("update", Moment.PUBLICATION)


@pytest.fixture(
    params=[
        pytest.param(
            (CASES[name], moment),
            marks=() if (name, moment) == QUICK else pytest.mark.crash_recovery,
            id=f"{name}-{moment.value}",
        )
        for name, moments in MOMENTS.items()
        for moment in moments
    ]
)
def lost(request: pytest.FixtureRequest) -> tuple[Case, Moment]:
    found: tuple[Case, Moment] = request.param
    return found


def arm(proxy: DroppingProxy, moment: Moment, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Lose the reply of the first commit, of the first one after the branch was made, or after the audit."""
    if moment is Moment.BRANCH:
        proxy.arm(COMMIT, **options)
        return
    owner, name = (staging, "create_branch") if moment is Moment.CANDIDATE else (Audit, "check_candidate")
    original = getattr(owner, name)

    def before(*arguments: Any) -> Any:
        result = original(*arguments)
        proxy.arm(COMMIT, **options)
        return result

    monkeypatch.setattr(owner, name, before)


def test_after_a_lost_reply_the_candles_are_correct(
    proxied: ProxiedHarness, lost: tuple[Case, Moment], monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, proxy = proxied.harness, proxied.proxy
    case, moment = lost
    case.prepare(harness)
    before = attempts(harness, case.timeframe)
    with monkeypatch.context() as patch:
        arm(proxy, moment, patch)
        report = case.run(harness)
    assert proxy.dropped == 1
    assert_all_rows_correct(harness, case)
    assert list(harness.table(case.timeframe).metadata.refs) == ["main"]
    if case.rebuild_pending:
        assert report["snapshot"] is None
        assert attempts(harness, case.timeframe) == before
        assert harness.checkpoint(case.timeframe).trades_snapshot == harness.snapshots()[-1]
    else:
        assert report["snapshot"] == harness.snapshots(case.timeframe)[-1]
        assert len(attempts(harness, case.timeframe)) == len(before) + 1
    assert_rerun_commits_nothing(harness, case)


def test_a_lost_reply_of_the_candidate_does_not_publish_it(
    proxied: ProxiedHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Iceberg repeats the commit, and finds the snapshot of its first attempt in the table."""
    harness, proxy = proxied.harness, proxied.proxy
    CASES["update"].prepare(harness)
    before = harness.candles("1m")
    seen: list[bool] = []
    check = Audit.check_candidate

    def checked(*arguments: Any) -> AuditResult:
        seen.append(harness.candles("1m") == before)
        return check(*arguments)

    monkeypatch.setattr(Audit, "check_candidate", checked)
    arm(proxy, Moment.CANDIDATE, monkeypatch)
    CASES["update"].run(harness)
    assert (proxy.dropped, seen) == (1, [True])


def test_an_unknown_commit_outcome_is_an_error_and_a_rerun_is_correct(
    proxied: ProxiedHarness, lost: tuple[Case, Moment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply is lost and the database refuses connections, so the job cannot check whether the commit succeeded."""
    harness, proxy = proxied.harness, proxied.proxy
    case, moment = lost
    case.prepare(harness)
    before, candles = attempts(harness, case.timeframe), harness.candles(case.timeframe)
    # The checkpoint alone is recorded without Spark's writer. Its error is not translated, and nothing depends on it.
    error, message = (
        (Py4JJavaError, None)
        if case.rebuild_pending
        else (OhlcvError, "(may or may not (have succeeded|be published)|nothing was published): run")
    )
    with monkeypatch.context() as patch:
        arm(proxy, moment, patch, refuse_connections=True)
        with pytest.raises(error, match=message):
            case.run(harness)
    assert proxy.dropped == 1
    proxy.accept()
    if moment is Moment.PUBLICATION:
        # The commit has succeeded, before any rerun.
        assert len(attempts(harness, case.timeframe)) == len(before) + 1
    else:
        assert attempts(harness, case.timeframe) == before
        assert harness.candles(case.timeframe) == candles
        if not case.rebuild_pending:
            case.run(harness)
    assert_all_rows_correct(harness, case)
    assert list(harness.table(case.timeframe).metadata.refs) == ["main"]
    assert_rerun_commits_nothing(harness, case)


def assert_all_rows_correct(harness: Harness, case: Case) -> None:
    """Compare every row of every live file with the reference model."""
    expected = harness.expected(case.timeframe, (DAY, case.end)).candles
    assert expected
    assert harness.candles(case.timeframe) == expected  # a key stored twice is an error there
    assert read_live_files(harness, case.timeframe) == len(expected)


def assert_rerun_commits_nothing(harness: Harness, case: Case) -> None:
    metadata = harness.table(case.timeframe).metadata_location
    report = case.run(harness)
    assert report["snapshot"] is None
    assert harness.table(case.timeframe).metadata_location == metadata
    assert_all_rows_correct(harness, case)


def read_live_files(harness: Harness, timeframe: str) -> int:
    """Read all files of the current snapshot completely and return the number of rows."""
    rows = 0
    for task in harness.table(timeframe).scan().plan_files():
        path = Path(unquote(urlsplit(task.file.file_path).path))
        assert path.is_file(), f"{path} belongs to the current snapshot but is missing"
        rows += len(pq.read_table(path, page_checksum_verification=True))
    return rows


def attempts(harness: Harness, timeframe: str) -> list[str]:
    """Return the attempt id of each published snapshot, oldest first."""
    return [job_summary(snapshot)[summary_keys.ATTEMPT] for snapshot in main_snapshots(harness.table(timeframe))][::-1]
