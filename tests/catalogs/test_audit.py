"""The two forms of the audit: of a candidate on a branch, and of computed candles that are not written yet."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from catalogs.conftest import CatalogUnderTest
from catalogs.kinds import KINDS
from ohlcv.model import summary_keys
from spark_jobs.jobs import rebuild
from spark_jobs.runtime import job_runner
from support.audits import before_publication, candidate_branches
from support.harness import Harness, at, trade

pytestmark = [
    pytest.mark.catalogs,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

NOON, HOUR = at("2026-03-31 12:00"), timedelta(hours=1)
# With one failing series of 25 the others are published.
SYMBOLS = [f"S{number:02}-USD" for number in range(25)]
BAD = SYMBOLS[3]
WITH_HISTORY = [kind for kind, (_, features) in KINDS.items() if features.shows_history]


def load(harness: Harness, price: int) -> None:
    """Load a trade of every series, all in the same windows."""
    harness.load(
        trade(NOON + timedelta(minutes=n % 7, seconds=price), f"{price}", symbol=symbol)
        for n, symbol in enumerate(SYMBOLS)
    )


def is_right(harness: Harness) -> bool:
    return harness.candles("1m") == harness.expected("1m", (NOON, NOON + HOUR)).candles


def test_candles_are_audited_before_they_are_published(
    catalog: CatalogUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, features = catalog.harness, catalog.features
    candidate, computed = summary_keys.AUDIT_OF_CANDIDATE, summary_keys.AUDIT_OF_COMPUTED
    # A new table has shown only one snapshot, and Nessie never shows more.
    forms = [
        candidate if features.has_lock else computed,
        candidate if features.has_lock or features.shows_history else computed,
    ]
    for price, form in enumerate(forms, start=10):
        load(harness, price)
        report = harness.build("1m", NOON, NOON + HOUR, rebuild_pending=True)
        assert is_right(harness)
        assert harness.summary("1m")[summary_keys.AUDIT] == form
        assert harness.snapshots("1m")[-1] == report["snapshot"]
    before = harness.stored("1m")
    load(harness, 20)
    with monkeypatch.context() as patch:
        compute = rebuild.compute

        def damaged(*arguments: Any) -> DataFrame:
            is_bad = F.col("symbol") == BAD
            rows = compute(*arguments)
            kind = rows.schema["volume"].dataType
            return rows.withColumn("volume", F.when(is_bad, F.col("volume") + 1).otherwise(F.col("volume")).cast(kind))

        patch.setattr(rebuild, "compute", damaged)
        report = harness.build("1m", NOON, NOON + HOUR, rebuild_pending=True)
    assert report["held"] == [f"1m:2026-03-31T12:kraken:{BAD}"]
    assert harness.summary("1m")[summary_keys.AUDIT] == forms[-1]
    expected = harness.expected("1m", (NOON, NOON + HOUR)).candles
    stored = harness.stored("1m")
    for key, row in stored.items():
        assert row == before[key] if key[0] == BAD else row.candle == expected[key]
    assert stored.keys() == expected.keys()
    # An hour later the series is tried again.
    assert harness.build("1m", NOON + HOUR, NOON + 2 * HOUR, rebuild_pending=True)["held"] == []
    assert is_right(harness)
    assert candidate_branches(harness.table("1m")) == []
    catalog.observations.append(", ".join(forms))


@pytest.mark.parametrize("catalog", WITH_HISTORY, indirect=True)
def test_a_commit_between_audit_and_publication_is_kept(
    catalog: CatalogUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = catalog.harness
    load(harness, 10)
    harness.build("1m", NOON, NOON + HOUR)
    load(harness, 11)
    foreign: list[int] = []

    def commit() -> None:
        table = harness.table("1m")
        table.append(table.schema().as_arrow().empty_table())
        foreign.extend(harness.snapshots("1m")[-1:])

    monkeypatch.setattr(job_runner, "PAUSE_SECONDS", 0.0)
    before_publication(monkeypatch, commit)
    report = harness.build("1m", NOON, NOON + HOUR)
    assert is_right(harness)
    assert harness.snapshots("1m")[-2:] == [*foreign, report["snapshot"]]
    # Neither the branch of the published candidate remains, nor that of the first one.
    assert candidate_branches(harness.table("1m")) == []
    catalog.observations.append("started again once")
