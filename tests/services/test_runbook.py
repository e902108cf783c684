"""The runbook's commands, typed as they are written, on a site where all is well but a day that somebody corrupted."""

from __future__ import annotations

import re
import subprocess
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ohlcv.model.intervals import floor_time, iso
from ohlcv.model.timeframes import DAY, TIMEFRAMES
from support.harness import at
from support.sites import Site, running_site

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parents[2]
# An indented block is typed in one go, a line of a list's item included.
BLOCK = re.compile(r"(?:^(?: {4}.*)?\n)+", re.M)


def blocks() -> list[tuple[str, str]]:
    """Give the runbook's commands with the section each stands in."""
    found = []
    for section in re.split(r"^## ", (ROOT / "docs" / "runbook.md").read_text(), flags=re.M)[1:]:
        title, _, text = section.partition("\n")
        found += [(title, textwrap.dedent(block).strip("\n")) for block in BLOCK.findall(text) if block.strip()]
    return found


def test_every_command_of_the_runbook_works_as_written(tmp_path: Path) -> None:
    # Its speed is not what this is about.
    # The days the runbook speaks of are to be kept, whenever this runs.
    environment = {"OHLCV_TIME_TARGET_SECONDS": "300", "OHLCV_RETENTION_DAYS": "36500"}
    with running_site(tmp_path, environment=environment) as site:
        today = floor_time(datetime.now(UTC), DAY)
        site.feed(at("2026-01-30"), at("2026-02-01"), 20_000)
        site.feed(today - DAY, datetime.now(UTC), 5_000)
        for timeframe in TIMEFRAMES.values():
            site.first_scheduled(timeframe.dag_id)
        # History by a run of its own, as after the first load.
        site.airflow.unpause("ohlcv_reprocess")
        site.succeeds(site.trigger("ohlcv_reprocess", {"start": iso(today - DAY), "end": iso(today + DAY)}))
        site.airflow.pause("ohlcv_reprocess")
        reprocessed = False
        for title, block in blocks():
            if title == "Delete a corrupt day and rebuild it":
                assert reprocessed, "the day is there to be corrupted"
                corrupt(site)
            print(f"--- {title}\n{block}")
            # Its first check is to find what is wrong.
            expected = 1 if title.startswith("Delete") and block.startswith("ohlcv validate") else 0
            result = type_in(site, block)
            print(result.stdout, result.stderr, sep="\n")
            assert result.returncode == expected, f"{title}: {block}\n{result.stdout}\n{result.stderr}"
            if title.startswith("Delete") and expected:
                assert "fields_equal_the_trades" in result.stderr
            reprocessed = reprocessed or "dags backfill" in block
        by_hand = [run for dag_id in ("ohlcv_1h", "ohlcv_reprocess") for run in site.runs(dag_id, "manual")]
        assert len(by_hand) == 3
        for run in by_hand:
            site.succeeds(run)
        assert site.assert_exact("1m", at("2026-01-30"), at("2026-02-01")) > 0


def type_in(site: Site, block: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        env=site.airflow.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timedelta(minutes=15).total_seconds(),
        check=False,
    )


def corrupt(site: Site) -> None:
    """Change the prices of a minute, as a stray script would."""
    minute = "SELECT min(window_start) FROM market_data.gold_ohlcv_1m WHERE window_date = DATE '2026-01-31'"
    site.sql(f"UPDATE market_data.gold_ohlcv_1m SET close_price = close_price + 1 WHERE window_start = ({minute})")
