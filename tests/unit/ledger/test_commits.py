"""The two commits of a recording: killed tasks, tasks at once, lost replies."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from sqlalchemy.exc import OperationalError

from ohlcv.config.catalogs.adapters import Catalog
from ohlcv.config.settings import Settings
from ohlcv.iceberg.file_commits import commit_files
from ohlcv.iceberg.write_lock import LockedTableError, write_lock
from ohlcv.ledger import recording
from ohlcv.ledger.recording import _Recorder, record
from ohlcv.model.errors import OhlcvError
from support.candle_rows import MINUTE
from support.ledger_site import LedgerSite, candle

EXPECTED = [(2, "updated", "12:00", Decimal(1)), (3, "updated", "12:00", Decimal(2))]


@pytest.fixture
def site(settings: Settings) -> LedgerSite:
    """Return a site with three publications, of which the first is recorded."""
    site = LedgerSite(settings)
    site.build(candle(1))
    site.record()
    site.build(candle(2))
    site.build(candle(3))
    return site


class Killed(BaseException):
    """End of a task at some moment."""


def before_commit_of(table: str, action: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something before the next commit to a table."""
    commit = SqlCatalog.commit_table

    def intercepted(catalog: SqlCatalog, target: Table, *arguments: Any) -> Any:
        if target.name()[-1] == table:
            monkeypatch.setattr(SqlCatalog, "commit_table", commit)
            action()
        return commit(catalog, target, *arguments)

    monkeypatch.setattr(SqlCatalog, "commit_table", intercepted)


def remove_lock(site: LedgerSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the catalog have no lock; its tables have a first snapshot then."""
    revisions = site.revisions_table()
    commit_files(site.catalog, site.settings.revisions_contract, revisions, [], [], lambda: None)
    monkeypatch.setattr(Catalog, "has_lock", False)


def kill() -> None:
    raise Killed


@pytest.mark.parametrize("table", ["gold_ohlcv_revisions", "gold_ohlcv_publications"])
def test_a_killed_recording_is_completed_by_the_next(
    site: LedgerSite, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    before_commit_of(table, kill, monkeypatch)
    with pytest.raises(Killed):
        site.record()
    # Another publication before the next recording.
    site.build(candle(4))
    site.record()
    assert site.changes() == [*EXPECTED, (4, "updated", "12:00", Decimal(3))]
    assert [each.number for each in site.publications()] == [1, 2, 3, 4]


def test_rows_that_a_killed_task_left_are_removed_from_a_compacted_file(
    site: LedgerSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.record()
    site.build(candle(4))
    before_commit_of("gold_ohlcv_publications", kill, monkeypatch)
    with pytest.raises(Killed):
        site.record()
    site.compact_revisions()
    site.roll_back(site.publications()[0].snapshot or 0)
    site.record()
    assert site.changes() == [
        *EXPECTED,
        (4, "updated", "12:00", Decimal(3)),
        (5, "updated", "12:00", Decimal(4)),
    ]


def test_a_second_recording_waits_for_the_first(site: LedgerSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "LOCK_SECONDS", 0.0)
    with write_lock(site.settings, site.settings.revisions_contract), pytest.raises(LockedTableError):
        site.record()
    assert site.record().publications == 2


@pytest.mark.parametrize("table", ["gold_ohlcv_revisions", "gold_ohlcv_publications"])
def test_of_two_recordings_without_a_lock_one_fails(
    site: LedgerSite, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    remove_lock(site, monkeypatch)
    before_commit_of(table, lambda: _record_another(site), monkeypatch)
    with pytest.raises(OhlcvError, match=r"another task has changed market_data.gold_ohlcv_\w+ at the same time"):
        site.record()
    assert site.changes() == EXPECTED
    assert [each.number for each in site.publications()] == [1, 2, 3]
    assert site.record().publications == 0


def _record_another(site: LedgerSite) -> None:
    assert record(site.settings, MINUTE).publications == 2


def test_a_recording_that_began_between_the_commits_of_another_replaces_its_rows(
    site: LedgerSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_lock(site, monkeypatch)

    def finish_first() -> None:
        # The second one sees one more publication.
        site.build(candle(4))
        assert record(site.settings, MINUTE).publications == 3

    before_commit_of("gold_ohlcv_publications", finish_first, monkeypatch)
    with pytest.raises(OhlcvError, match="another task"):
        site.record()
    assert site.changes() == [*EXPECTED, (4, "updated", "12:00", Decimal(3))]
    assert [each.number for each in site.publications()] == [1, 2, 3, 4]


@pytest.mark.parametrize("table", ["gold_ohlcv_revisions", "gold_ohlcv_publications"])
def test_a_commit_whose_reply_is_lost_is_found(site: LedgerSite, monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    commit = SqlCatalog.commit_table

    def lose_reply(catalog: SqlCatalog, target: Table, *arguments: Any) -> Any:
        result = commit(catalog, target, *arguments)
        if target.name()[-1] == table:
            raise OperationalError("UPDATE", {}, Exception("server closed the connection"))
        return result

    monkeypatch.setattr(SqlCatalog, "commit_table", lose_reply)
    site.record()
    assert site.changes() == EXPECTED
    assert [each.number for each in site.publications()] == [1, 2, 3]


def test_files_of_a_failed_commit_are_removed(site: LedgerSite, monkeypatch: pytest.MonkeyPatch) -> None:
    before = site.ledger_files()
    before_commit_of("gold_ohlcv_revisions", kill, monkeypatch)
    with pytest.raises(Killed):
        site.record()
    assert site.ledger_files() == before


def test_the_lock_is_checked_before_a_commit(site: LedgerSite, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost() -> None:
        raise OhlcvError("the write lock was lost")

    recorder = _Recorder(site.settings, MINUTE, site.catalog, lost, lambda _: None)
    with pytest.raises(OhlcvError, match="lost"):
        recorder.run()
    assert site.changes() == []
    assert site.record().publications == 2
