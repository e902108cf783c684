"""The doctor and the health checks report a ledger that does not begin, lags behind, or has lost publications."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.ledger_tables import read_recorded_until
from ohlcv.iceberg.tables import create_tables, open_catalog
from ohlcv.ledger import status
from ohlcv.ledger.recording import record
from ohlcv.model.intervals import iso
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES
from ohlcv.monitoring import health
from ohlcv.monitoring.ledger_check import check_ledger
from ohlcv.monitoring.measurements import Measurement
from support.candle_rows import MINUTE, candle
from support.ledger_rows import add_ledger_rows
from support.ledger_site import LedgerSite

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")


@pytest.fixture
def site(tmp_path: Path) -> LedgerSite:
    settings = load_settings({"OHLCV_HOME": str(tmp_path)})
    create_tables(settings)
    return LedgerSite(settings)


def record_all(site: LedgerSite) -> None:
    for name in DEFAULT_TIMEFRAMES:
        record(site.settings, site.settings.timeframe(name))


def measured(site: LedgerSite, now: datetime) -> Measurement:
    """Return the measurement of the 1m ledger."""
    found = {each.subject: each for each in health.ledger(site.settings, now)}
    assert list(found) == list(DEFAULT_TIMEFRAMES)
    return found["1m"]


def test_a_ledger_that_has_not_begun_is_no_alert(site: LedgerSite) -> None:
    now = datetime.now(UTC)
    remedy = "no publication is recorded yet: unpause the DAG ohlcv_ledger, or run 'ohlcv ledger record'"
    assert list(check_ledger(site.settings, now)) == [("unused", f"1m, 5m, 30m, 1h, 1d: {remedy}")]
    found = measured(site, now)
    assert (found.state, found.found, found.value) == ("unknown", remedy, None)


def test_a_ledger_is_behind_when_a_publication_missed_its_run(site: LedgerSite) -> None:
    record_all(site)
    now = datetime.now(UTC)
    assert list(check_ledger(site.settings, now)) == [("ok", "5 publications of 5 timeframes are recorded")]
    found = measured(site, now)
    assert (found.state, found.value, found.oldest_seconds) == ("ok", 0, 0.0)
    for close in ("1", "2"):
        site.build(candle(MINUTE, "2026-03-01T12:00", close))
    first, _ = (datetime.fromtimestamp(each.timestamp_ms / 1000, UTC) for each in site.table().metadata.snapshot_log)

    in_time, late = first + timedelta(hours=2), first + timedelta(hours=2, seconds=1)
    assert [state for state, _ in check_ledger(site.settings, in_time)] == ["ok"]
    found = measured(site, in_time)
    assert (found.state, found.value, found.oldest_seconds) == ("ok", 2, 7200.0)
    [(state, text)] = check_ledger(site.settings, late)
    assert state == "warning"
    assert text.startswith(f"1m: 2 publications since {iso(first)} are not recorded: unpause the DAG ohlcv_ledger")
    found = measured(site, late)
    assert (found.state, found.found) == ("alert", "2 publications not recorded, the oldest since 2 h")
    record_all(site)
    assert [state for state, _ in check_ledger(site.settings, late)] == ["ok"]
    assert measured(site, late).state == "ok"


def test_the_newest_publication_of_a_quiet_market_is_found(site: LedgerSite) -> None:
    add_ledger_rows(site.settings, "publications", "1m", "2026-01-05", "2026-02-05", trigger="scheduled")
    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert measured(site, now).state == "ok"
    assert read_recorded_until(site.settings, open_catalog(site.settings), now) == {
        "1m": datetime(2026, 2, 5, tzinfo=UTC)
    }


def test_every_gap_is_reported(site: LedgerSite) -> None:
    add_ledger_rows(site.settings, "publications", "1m", "2026-01-05", trigger="first")
    add_ledger_rows(site.settings, "publications", "5m", "2026-02-05", trigger="gap")
    found = [
        text for state, text in check_ledger(site.settings, datetime(2026, 3, 1, tzinfo=UTC)) if state == "warning"
    ]
    assert found == [
        "5m: publications before 2026-02-05T00:00:00Z are lost, and reads of that time are refused: "
        "see A gap in the ledger in docs/runbook.md"
    ]


def test_a_catalog_without_history_has_no_ledger(site: LedgerSite, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "the catalog shows only the newest snapshot"
    for module in (status, health):
        monkeypatch.setattr(module, "find_unavailable_reason", lambda *_: reason)
    now = datetime.now(UTC)
    assert [state for state, _ in check_ledger(site.settings, now)] == ["warning"] * 5
    assert next(text for _, text in check_ledger(site.settings, now)).startswith(f"1m: {reason}: use a catalog that")
    assert (measured(site, now).state, measured(site, now).found) == ("unknown", reason)
