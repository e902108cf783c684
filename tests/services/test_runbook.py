"""Every command of the runbook, run as written on a healthy installation with one corrupted day."""

from __future__ import annotations

import re
import subprocess
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ohlcv.model.intervals import HOUR, floor_time, iso
from ohlcv.model.timeframes import DAY, DEFAULT_TIMEFRAMES
from support.harness import at, trade
from support.sites import Site, running_site

pytestmark = [pytest.mark.services, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
# An indented block is one script. In a list item it is indented further.
BLOCK = re.compile(r"(?:^(?: {4}.*)?\n)+", re.M)


def command_blocks() -> list[tuple[str, str]]:
    """Return the runbook's command blocks, each with the title of its section."""
    found = []
    for section in re.split(r"^## ", (ROOT / "docs" / "runbook.md").read_text(), flags=re.M)[1:]:
        title, _, text = section.partition("\n")
        found += [(title, textwrap.dedent(block).strip("\n")) for block in BLOCK.findall(text) if block.strip()]
    return found


def test_every_command_of_the_runbook_works_as_written(tmp_path: Path) -> None:
    # Neither a slow machine nor the age of the days in the runbook may fail a command.
    environment = {"OHLCV_TIME_TARGET_SECONDS": "300", "OHLCV_RETENTION_DAYS": "36500"}
    with running_site(tmp_path, environment=environment) as site:
        today = floor_time(datetime.now(UTC), DAY)
        site.generate_trades(at("2026-01-30"), at("2026-02-01"), 20_000)
        site.generate_trades(today - DAY, datetime.now(UTC), 5_000)
        # Commands name this exchange, of which no trades are generated. Without recent ones it would be in alert.
        hours = range((datetime.now(UTC) - (today - DAY)) // HOUR + 1)
        site.load(trade(today - DAY + number * HOUR, exchange="kraken") for number in hours)
        for timeframe in DEFAULT_TIMEFRAMES.values():
            site.complete_first_scheduled_run(timeframe.dag_id)
        # The history is built by a reprocessing run, as after a first load.
        site.airflow.unpause("ohlcv_reprocess")
        site.wait_until_successful(
            site.trigger("ohlcv_reprocess", {"start": iso(today - DAY), "end": iso(today + DAY)})
        )
        site.airflow.pause("ohlcv_reprocess")
        reprocessed = False
        for title, block in command_blocks():
            if title == "Delete a corrupt day and rebuild it":
                assert reprocessed, "the day must be built before it is corrupted"
                corrupt(site)
            print(f"--- {title}\n{block}")
            # The first validation of this section must find the corrupted candles.
            expected_code = 1 if title.startswith("Delete") and block.startswith("ohlcv validate") else 0
            result = run_block(site, block)
            print(result.stdout, result.stderr, sep="\n")
            assert result.returncode == expected_code, f"{title}: {block}\n{result.stdout}\n{result.stderr}"
            if title.startswith("Delete") and expected_code:
                assert "fields_equal_the_trades" in result.stderr
            reprocessed = reprocessed or "dags backfill" in block
        manual_runs = [run for dag_id in ("ohlcv_1h", "ohlcv_reprocess") for run in site.runs(dag_id, "manual")]
        assert len(manual_runs) == 3
        for run in manual_runs:
            site.wait_until_successful(run)
        assert site.assert_exact("1m", at("2026-01-30"), at("2026-02-01")) > 0


def run_block(site: Site, block: str) -> subprocess.CompletedProcess[str]:
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
    """Change the close prices of one minute without the jobs."""
    minute = "SELECT min(window_start) FROM market_data.gold_ohlcv_1m WHERE window_date = DATE '2026-01-31'"
    site.sql(f"UPDATE market_data.gold_ohlcv_1m SET close_price = close_price + 1 WHERE window_start = ({minute})")
