"""The commit of a recording: killed tasks, tasks at once, lost replies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from sqlalchemy.exc import OperationalError

from ohlcv.config.catalogs.adapters import Catalog
from ohlcv.config.settings import Settings
from ohlcv.coverage import recording
from ohlcv.coverage.recording import _Recorder, record_coverage
from ohlcv.iceberg.file_commits import commit_files
from ohlcv.iceberg.write_lock import LockedTableError, write_lock
from ohlcv.model.errors import OhlcvError
from support.coverage_site import HOUR, NOW, CoverageSite, delivery


@pytest.fixture
def site(settings: Settings) -> CoverageSite:
    """Return a site with two hours, of which one is recorded, and one has changed since."""
    site = CoverageSite(settings)
    site.deliver(delivery(1))
    site.record()
    site.assert_recorded()
    site.deliver(delivery(2, "2"), delivery(hour=HOUR - 24))
    return site


class Killed(BaseException):
    """End of a task at some moment."""


def kill() -> None:
    raise Killed


def before_commit(action: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something before the next commit to the coverage table."""
    commit = SqlCatalog.commit_table

    def intercepted(catalog: SqlCatalog, target: Table, *arguments: Any) -> Any:
        if target.name()[-1] == "gold_ohlcv_coverage":
            monkeypatch.setattr(SqlCatalog, "commit_table", commit)
            action()
        return commit(catalog, target, *arguments)

    monkeypatch.setattr(SqlCatalog, "commit_table", intercepted)


def remove_lock(site: CoverageSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the catalog have no lock; its tables have a first snapshot then."""
    commit_files(site.catalog, site.settings.coverage_contract, site.coverage_table(), [], [], lambda: None)
    monkeypatch.setattr(Catalog, "has_lock", False)


def test_a_killed_recording_changes_nothing_and_the_next_completes_it(
    site: CoverageSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, properties, files = site.rows(), site.properties(), site.files()
    before_commit(kill, monkeypatch)
    with pytest.raises(Killed):
        site.record()
    assert (site.rows(), site.properties(), site.files()) == (rows, properties, files)
    assert site.record().hours == 2
    site.assert_recorded()


def test_a_second_recording_waits_for_the_first(site: CoverageSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "LOCK_SECONDS", 0.0)
    with write_lock(site.settings, site.settings.coverage_contract), pytest.raises(LockedTableError):
        site.record()
    assert site.record().hours == 2


def test_of_two_recordings_without_a_lock_one_fails(site: CoverageSite, monkeypatch: pytest.MonkeyPatch) -> None:
    remove_lock(site, monkeypatch)

    def record_another() -> None:
        assert record_coverage(site.settings, NOW).hours == 2

    before_commit(record_another, monkeypatch)
    with pytest.raises(OhlcvError, match=r"another task has changed market_data.gold_ohlcv_coverage at the same time"):
        site.record()
    site.assert_recorded()
    assert site.record().hours == 0


def test_trades_that_are_added_while_another_task_records_are_counted_next(
    site: CoverageSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deliver() -> None:
        site.deliver(delivery(3, "3"))

    before_commit(deliver, monkeypatch)
    site.record()
    assert site.record().hours == 1
    site.assert_recorded()


def test_a_commit_whose_reply_is_lost_is_found(site: CoverageSite, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = SqlCatalog.commit_table

    def lose_reply(catalog: SqlCatalog, target: Table, *arguments: Any) -> Any:
        result = commit(catalog, target, *arguments)
        if target.name()[-1] == "gold_ohlcv_coverage":
            raise OperationalError("UPDATE", {}, Exception("server closed the connection"))
        return result

    monkeypatch.setattr(SqlCatalog, "commit_table", lose_reply)
    site.record()
    site.assert_recorded()
    monkeypatch.setattr(SqlCatalog, "commit_table", commit)
    assert site.record().hours == 0


def test_the_lock_is_checked_before_the_commit(site: CoverageSite) -> None:
    def lost() -> None:
        raise OhlcvError("the write lock was lost")

    rows = site.rows()
    recorder = _Recorder(site.settings, NOW, site.catalog, lost, lambda _: None)
    with pytest.raises(OhlcvError, match="lost"):
        recorder.run(10**9)
    assert site.rows() == rows


def test_a_catalog_that_shows_only_the_newest_snapshot_is_compared_by_its_metadata(
    site: CoverageSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_lock(site, monkeypatch)
    first = site.properties()["trades-snapshot"]
    site.trades_table().maintenance.expire_snapshots().by_id(int(first)).commit()
    report = site.record()
    assert (report.hours, report.full) == (2, None)
    site.assert_recorded()
