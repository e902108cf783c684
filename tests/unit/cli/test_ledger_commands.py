"""`ohlcv ledger record` and `ohlcv ledger status`."""

from __future__ import annotations

import json

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables
from support.audited_tables import built
from support.candle_rows import MINUTE
from support.command_line import WarmCommandLine
from support.ledger_site import LedgerSite

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")


@pytest.fixture
def site(warm: WarmCommandLine) -> LedgerSite:
    settings = load_settings({"OHLCV_HOME": str(warm.home)})
    create_tables(settings)
    return LedgerSite(settings)


def test_all_timeframes_are_recorded(warm: WarmCommandLine, site: LedgerSite) -> None:
    site.build(built(MINUTE, "2026-03-01T12:00"))
    lines = warm.succeed("ledger", "record").splitlines()
    assert lines[2].split()[:4] == ["timeframe", "publications", "inserted", "updated"]
    assert [line.split()[:2] for line in lines[4:9]] == [[name, "1"] for name in ("1m", "5m", "30m", "1h", "1d")]


def test_the_report_counts_changes_and_causes(warm: WarmCommandLine, site: LedgerSite) -> None:
    site.build(built(MINUTE, "2026-03-01T12:00"), built(MINUTE, "2026-03-01T12:01"))
    site.record()
    site.build(built(MINUTE, "2026-03-01T12:00", "2"), built(MINUTE, "2026-03-01T12:01", "2"))
    report = json.loads(warm.succeed("ledger", "record", "--timeframe", "1m", "--format", "json"))
    assert {name: report[name] for name in ("timeframe", "publications", "number", "revisions", "causes")} == {
        "timeframe": "1m",
        "publications": 1,
        "number": 2,
        "revisions": {"updated": 2},
        "causes": {"unknown": 2},
    }
    assert (report["gap"], report["unavailable"]) == (None, None)
    row = warm.succeed("ledger", "record", "--timeframe", "1m").splitlines()[4].split()
    assert row[:6] == ["1m", "0", "0", "0", "0", "-"]


def test_a_gap_is_named(warm: WarmCommandLine, site: LedgerSite) -> None:
    site.build(built(MINUTE, "2026-03-01T12:00"))
    site.record()
    for price in "23":
        site.build(built(MINUTE, "2026-03-01T12:00", price))
    snapshots = [snapshot.snapshot_id for snapshot in site.table().snapshots()[:2]]
    site.table().maintenance.expire_snapshots().by_ids(snapshots).commit()
    result = warm.run("ledger", "record", "--timeframe", "1m")
    assert result.returncode == 0
    assert "were lost: see 'ohlcv ledger status'" in result.stderr
    state = json.loads(warm.succeed("ledger", "status", "--timeframe", "1m", "--format", "json"))
    assert state["gaps"] == [state["begins_at"]]


def test_the_status_tells_what_is_not_recorded(warm: WarmCommandLine, site: LedgerSite) -> None:
    site.build(built(MINUTE, "2026-03-01T12:00"))
    assert warm.succeed("ledger", "status").splitlines()[4].split() == ["1m", "-", "-", "0", "-", "0", "0.0"]
    site.record()
    site.build(built(MINUTE, "2026-03-01T12:00", "2"))
    row = warm.succeed("ledger", "status", "--timeframe", "1m").splitlines()[4].split()
    (publication,) = site.publications()
    visible_at = publication.visible_at.isoformat().replace("+00:00", "Z")
    assert row == ["1m", visible_at, "1", "at", visible_at, "1", "-", "0", "0.0"]


def test_a_failure_in_one_timeframe_does_not_stop_the_others(warm: WarmCommandLine, site: LedgerSite) -> None:
    site.catalog.drop_table(site.table().name())
    result = warm.run("ledger", "record")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: 1m: there is no table market_data.gold_ohlcv_1m: run")
    assert [line.split()[0] for line in result.stdout.splitlines()[4:8]] == ["5m", "30m", "1h", "1d"]


def test_an_unknown_timeframe_is_refused(warm: WarmCommandLine) -> None:
    for command in ("record", "status"):
        assert warm.fail(2, "ledger", command, "--timeframe", "7m").startswith("unknown timeframe '7m'")
