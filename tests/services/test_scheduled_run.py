"""One scheduled run on real services: the only test outside the lanes that starts Airflow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from support.processes import processes_with_environment
from support.sites import running_site


def test_a_scheduled_run_builds_and_validates_exact_candles(tmp_path: Path) -> None:
    with running_site(tmp_path) as site:
        now = datetime.now(UTC)
        site.generate_trades(now - timedelta(hours=3), now, trades=3_000)
        run = site.complete_first_scheduled_run("ohlcv_1h")
        start, end = map(datetime.fromisoformat, site.job_range(run))
        tasks = site.airflow.tasks("ohlcv_1h", run.run_id)
        assert {tasks[name]["state"] for name in ("aggregate", "validate")} == {"success"}
        assert site.assert_exact("1h", start, end) > 0
        assert len(site.snapshots("1h")) == 1
    assert processes_with_environment(f"OHLCV_HOME={site.settings.home}") == []
