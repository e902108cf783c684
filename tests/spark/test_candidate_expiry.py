"""Candidates in maintenance: they keep their files until they expire, and no document takes them for published."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ohlcv.model.audit_records import CANDIDATE_BRANCH
from spark_jobs.iceberg.staging import writing_to
from spark_jobs.jobs import table_maintenance
from support.documents import DOCUMENTS
from support.harness import Harness, at, trade
from support.lanes import spark_cases
from support.maintenance import append_small_files, data_files, fill, make_old, run_maintenance

NOON = at("2026-11-21 12:00")


BRANCH = f"{CANDIDATE_BRANCH}1"


def stage_candidate(harness: Harness, rows: list[dict[str, object]]) -> int:
    """Stage a snapshot that replaces the 1m candles by these rows, as a run before its audit; return the snapshot."""
    with writing_to(harness.spark, BRANCH):
        harness.overwrite("1m", rows)
    staged = harness.table("1m").snapshot_by_name(BRANCH)
    assert staged is not None
    return staged.snapshot_id


@pytest.mark.parametrize(
    "state", spark_cases({name: name for name in ("left by a killed job", "rejected")}, "rejected")
)
def test_a_candidate_keeps_its_files_until_it_expires(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    expired, closed = date(2025, 1, 1), at("2026-11-20 12:00")
    fill(harness, "1m", expired, expired, "1 HOUR")
    harness.load([trade(time, symbol=symbol) for time in (closed, NOON) for symbol in "ab"])
    for time in (closed, NOON):
        harness.build("1m", time, time + timedelta(minutes=1))
    append_small_files(harness, closed)
    stored = harness.table("1m").scan().to_arrow().to_pylist()
    rows = [{**row, "close_price": row["high_price"]} for row in stored]
    candidate, main = stage_candidate(harness, rows), harness.snapshots("1m")
    if state == "rejected":
        harness.table("1m").manage_snapshots().remove_branch(BRANCH).commit()
    own = candidate_files(harness, candidate)
    assert not own & data_files(harness.table("1m")).keys()

    make_old(harness.settings.home)
    today = datetime.now(UTC).date()
    report = run_maintenance(harness, "1m", "delete", "compact", "expire", as_of=today, days=(expired,))
    assert (report["delete"]["partitions"], report["compact"]["files_before"]) == (1, 4)
    assert (report["expire"]["candidates_expired"], report["expire"]["orphans_deleted"]) == (0, 0)
    assert candidate_files(harness, candidate) == own
    assert by_key(harness.table("1m").scan(snapshot_id=candidate).to_arrow().to_pylist()) == by_key(rows)
    published = harness.snapshots("1m")
    assert published[: len(main)] == main
    assert candidate not in published
    assert by_key(harness.table("1m").scan().to_arrow().to_pylist()) == by_key(
        row for row in stored if row["window_date"] != expired
    )

    # Without a minimum age.
    monkeypatch.setattr(table_maintenance, "SNAPSHOT_AGE", timedelta(0))
    report = run_maintenance(harness, "1m", "expire", as_of=today)
    assert report["expire"]["candidates_expired"] == 1
    assert report["expire"]["data_files_deleted"] == len(own)
    assert [each.snapshot_id for each in harness.table("1m").snapshots()] == published
    assert not any(Path(urlsplit(path).path).exists() for path in own)
    oldest = harness.table("1m").scan(snapshot_id=main[-1]).to_arrow().to_pylist()
    assert by_key(oldest) == by_key(stored), "a published state has lost files"


def candidate_files(harness: Harness, snapshot: int) -> set[str]:
    return {task.file.file_path for task in harness.table("1m").scan(snapshot_id=snapshot).plan_files()}


def by_key(rows: Iterable[dict[str, object]]) -> list[dict[str, object]]:
    return sorted(rows, key=lambda row: (str(row["symbol"]), str(row["exchange"]), str(row["window_start"])))


def test_the_documented_queries_show_only_published_snapshots(harness: Harness) -> None:
    harness.load([trade(NOON)])
    for minutes in (1, 2):
        harness.load([trade(NOON + timedelta(seconds=minutes))])
        harness.build("1m", NOON, NOON + timedelta(minutes=5))
    candidate = stage_candidate(harness, [])
    published = harness.snapshots("1m")
    harness.spark.catalog.setCurrentCatalog("iceberg")
    text = "".join((DOCUMENTS / name).read_text() for name in ("runbook.md", "operations.md"))
    queries = re.findall(r'"(SELECT[^"]*\.snapshots\b[^"]*)"', text)
    assert len(queries) == 3
    for query in queries:
        assert len(harness.spark.sql(query).collect()) == len(published) == 2, query
    assert [row.snapshot_id for row in harness.spark.sql(queries[0]).collect()] == published[::-1]
    assert candidate not in published
