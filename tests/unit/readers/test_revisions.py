"""The feed of revisions and the history of a candle: contents, order, pages, filters, and what is refused."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

import ohlcv
from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables
from ohlcv.model.errors import InputError, UnknownSeriesError
from ohlcv.readers.candle_history import read_candle_history
from ohlcv.readers.recorded_table import open_recorded_table
from ohlcv.readers.revisions import FeedKey, FeedQuery, follow_feed, read_feed, read_revisions
from support.candle_rows import HOUR, Row, at, candle
from support.ledger import RecordedHistory, append

NOON = at("2026-03-01T12:00")


@pytest.fixture
def history(settings: Settings) -> RecordedHistory:
    return RecordedHistory(settings, HOUR, NOON)


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> RecordedHistory:
    settings = load_settings({"OHLCV_HOME": str(tmp_path_factory.mktemp("changed"))})
    create_tables(settings)
    return change(RecordedHistory(settings, HOUR, NOON))


def change(history: RecordedHistory) -> RecordedHistory:
    """Commit and record two late corrections, a deletion, and a candle that was held."""
    history.job([hour(10), hour(11), hour(10, exchange="Y")])
    history.job(
        [hour(10, "2"), hour(12)],
        causes=["trade added", "trade corrected"],
        lateness=90_000_000,
        run_id="scheduled__2",
    )
    history.job([hour(10, "3"), hour(10, "4", exchange="Y")], causes=["unknown"], trigger="reprocess")
    history.job(deleted=[hour(11)], causes=["trade removed"])
    history.job([hour(13)], held_since=NOON, waived=True, causes=["trade added"])
    history.record()
    return history


def hour(start: int, close: str = "1", exchange: str = "X") -> Row:
    return candle(HOUR, f"2026-03-01T{start}:00", close, exchange=exchange)


def lines(rows: list[Row]) -> list[str]:
    """Return number, change, exchange, hour, and close before and after of each revision."""
    return [
        f"{row['publication']} {row['change']} {row['exchange']} {row['window_start']:%H} "
        f"{number(row['before_close_price'])} {number(row['after_close_price'])}"
        for row in rows
    ]


def number(value: Decimal | None) -> str:
    return "-" if value is None else f"{value.normalize():f}"


def feed(history: RecordedHistory, limit: int = 100, key: FeedKey | None = None, **query: Any) -> list[str]:
    recorded = open_recorded_table(history.settings, HOUR)
    return lines(read_feed(recorded, FeedQuery(**query), limit, key).table.to_pylist())


CHANGES = ["2 updated X 10 1 2", "3 updated X 10 2 3", "3 updated Y 10 1 4", "4 deleted X 11 1 -"]


class TestFeed:
    def test_changes_have_the_values_before_and_after(self, changed: RecordedHistory) -> None:
        assert feed(changed) == CHANGES
        assert feed(changed, insertions=True) == [
            CHANGES[0],
            "2 inserted X 12 - 1",
            *CHANGES[1:],
            "5 inserted X 13 - 1",
        ]

    def test_a_revision_says_why_and_by_which_run(self, changed: RecordedHistory) -> None:
        table, since = read_revisions(changed.settings, HOUR, FeedQuery(insertions=True))
        row = table.to_pylist()[0]
        state = changed.states[1]
        assert since == 5
        assert {name: row[name] for name in table.column_names[4:14]} == {
            "change": "updated",
            "causes": ["trade added", "trade corrected"],
            "lateness": 90_000_000,
            "held_since": None,
            "waived": False,
            "visible_at": state.seen_at,
            "trigger": "scheduled",
            "dag_id": None,
            "run_id": "scheduled__2",
            "snapshot": state.snapshot,
        }
        held = table.to_pylist()[-1]
        assert (held["held_since"], held["waived"]) == (NOON, True)
        assert row["before_updated_at"] == changed.states[0].written_at
        assert row["after_updated_at"] == state.written_at

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({"since": 2}, CHANGES[1:]),
            ({"since": 5}, []),
            ({"exchange": "Y"}, CHANGES[2:3]),
            ({"symbol": "BTC", "exchange": "X", "start": at("2026-03-01T11:00")}, CHANGES[3:]),
            ({"end": at("2026-03-01T11:00"), "since": 1}, CHANGES[:3]),
            ({"cause": "trade removed"}, CHANGES[3:]),
            ({"cause": "trade added", "insertions": True}, [CHANGES[0], "5 inserted X 13 - 1"]),
            ({"cause": "trade moved"}, []),
        ],
        ids=str,
    )
    def test_a_query_selects(self, changed: RecordedHistory, query: dict[str, Any], expected: list[str]) -> None:
        assert feed(changed, **query) == expected

    def test_pages_have_each_revision_once(self, changed: RecordedHistory) -> None:
        recorded = open_recorded_table(changed.settings, HOUR)
        for insertions in (False, True):
            for size in (1,) if insertions else (2, 3):
                found, key = [], None
                while True:
                    page = read_feed(recorded, FeedQuery(insertions=insertions), size, key)
                    assert len(page.table) <= size
                    found += lines(page.table.to_pylist())
                    key = page.next_key
                    if key is None:
                        break
                assert found == feed(changed, insertions=insertions)

    def test_a_limit_ends_after_a_whole_publication(self, changed: RecordedHistory) -> None:
        table, since = read_revisions(changed.settings, HOUR, FeedQuery(), 2)
        assert (lines(table.to_pylist()), since) == (CHANGES[:3], 3)
        table, since = read_revisions(changed.settings, HOUR, FeedQuery(since=since), 2)
        assert (lines(table.to_pylist()), since) == (CHANGES[3:], 5)

    def test_an_inserted_candle_that_changed_later_has_its_first_values(self, history: RecordedHistory) -> None:
        history.job([])
        history.job([hour(10)])
        history.job([hour(11)])
        history.job([hour(10, "2")])
        history.job(deleted=[hour(10)])
        history.record()
        # The change is on a later page.
        recorded = open_recorded_table(history.settings, HOUR)
        key: FeedKey | None = None
        found: list[str] = []
        for _ in range(4):
            page = read_feed(recorded, FeedQuery(insertions=True), 1, key)
            key, found = page.next_key, [*found, *lines(page.table.to_pylist())]
        assert found == ["2 inserted X 10 - 1", "3 inserted X 11 - 1", "4 updated X 10 1 2", "5 deleted X 10 2 -"]
        assert key is None

    def test_a_rollback_is_a_change(self, history: RecordedHistory) -> None:
        first = history.job([hour(10)])
        history.job([hour(10, "2"), hour(11)])
        history.rollback(first)
        history.record()
        assert feed(history, since=2) == ["3 updated X 10 2 1", "3 deleted X 11 1 -"]

    def test_retention_and_compaction_are_no_changes(self, history: RecordedHistory) -> None:
        history.job([hour(10)])
        history.compact()
        history.retire(date(2026, 3, 1))
        history.record()
        assert feed(history, insertions=True) == []

    def test_new_publications_follow(self, history: RecordedHistory) -> None:
        change(history)
        waits: list[float] = []

        def wait(seconds: float) -> bool:
            waits.append(seconds)
            if len(waits) == 2:
                history.job([hour(10, "9")])
                history.record()
            return len(waits) == 4

        query = FeedQuery(insertions=True, since=4)
        parts = [lines(part.to_pylist()) for part in follow_feed(history.settings, HOUR, query, wait, 7.0)]
        assert parts == [["5 inserted X 13 - 1"], ["6 updated X 10 3 9"]]
        assert waits == [7.0] * 4

    def test_the_python_api_continues_with_since(self, changed: RecordedHistory) -> None:
        found = ohlcv.revisions("1h", limit=1, settings=changed.settings)
        assert lines(found.to_pylist()) == CHANGES[:1]
        since = int(found.schema.metadata[b"ohlcv.since"])
        later = ohlcv.revisions("1h", start="2026-03-01", since=since, settings=changed.settings)
        assert lines(later.to_pylist()) == CHANGES[1:]


class TestInvalidQueries:
    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ({"since": -1}, "since -1 is negative: give the number of a publication, or 0"),
            ({"since": 6}, "since 6 is after the newest recorded publication: give at most 5"),
            ({"cause": "weather"}, "unknown cause 'weather': choose one of trade added, trade corrected"),
            ({"start": NOON, "end": NOON}, "start 2026-03-01T12:00:00Z must be before end"),
        ],
        ids=str,
    )
    def test_an_invalid_query_is_refused(self, changed: RecordedHistory, query: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError) as caught:
            feed(changed, **query)
        assert str(caught.value).startswith(message)

    def test_an_unknown_series_is_refused(self, changed: RecordedHistory) -> None:
        with pytest.raises(UnknownSeriesError, match="no 1h candle has symbol 'DOGE'"):
            feed(changed, symbol="DOGE")
        assert feed(changed, symbol="BTC", since=5) == []

    def test_a_limit_of_zero_is_refused(self, changed: RecordedHistory) -> None:
        with pytest.raises(InputError, match="the limit must be 1 or more"):
            ohlcv.revisions("1h", limit=0, settings=changed.settings)

    def test_a_number_before_a_gap_is_refused(self, history: RecordedHistory) -> None:
        history.job([hour(10)])
        history.job([hour(10, "2")])
        history.job([hour(10, "3")])
        history.job([hour(10, "4")])
        history.record(2)
        gap = {**history.publication(3).__dict__, "trigger": "gap", "deleted_partitions": []}
        append(history.settings, history.settings.publications_contract, "visible_at", [gap])
        history.recorded = 3
        history.record()
        assert feed(history) == feed(history, since=3) == ["4 updated X 10 3 4"]
        with pytest.raises(InputError, match=r"^publications between 2 and 3 are not recorded: read the candles again"):
            feed(history, since=2)

    def test_a_page_does_not_continue_over_a_gap(self, history: RecordedHistory) -> None:
        for close in ("1", "2", "3", "4"):
            history.job([hour(10, close)])
        history.record(3)
        key = read_feed(open_recorded_table(history.settings, HOUR), FeedQuery(), 1).next_key
        assert key is not None
        gap = {**history.publication(4).__dict__, "trigger": "gap", "deleted_partitions": []}
        append(history.settings, history.settings.publications_contract, "visible_at", [gap])
        with pytest.raises(InputError, match=r"^publications between 1 and 4 are not recorded: read the candles again"):
            feed(history, key=key)

    def test_without_a_ledger_there_are_no_revisions(self, history: RecordedHistory) -> None:
        history.job([hour(10)])
        with pytest.raises(InputError, match=r"^the ledger of 1h has not begun: run 'ohlcv ledger record'"):
            feed(history)


class TestHistory:
    def test_each_version_has_its_time_and_cause(self, changed: RecordedHistory) -> None:
        found = read_candle_history(changed.settings, HOUR, "BTC", "X", at("2026-03-01T10:59"))
        rows = found.versions.to_pylist()
        assert found.window_start == at("2026-03-01T10:00")
        assert [(row["publication"], row["change"], number(row["close_price"])) for row in rows] == [
            (1, None, "1"),
            (2, "updated", "2"),
            (3, "updated", "3"),
        ]
        assert [row["causes"] for row in rows] == [[], ["trade added", "trade corrected"], ["unknown"]]
        assert [row["visible_at"] for row in rows] == [state.seen_at for state in changed.states[:3]]
        assert [row["trigger"] for row in rows] == ["first", "scheduled", "reprocess"]
        assert found.known_until is None

    def test_a_deleted_and_a_new_candle(self, changed: RecordedHistory) -> None:
        deleted = read_candle_history(changed.settings, HOUR, "BTC", "X", at("2026-03-01T11:00")).versions.to_pylist()
        assert [(row["publication"], row["change"], row["close_price"]) for row in deleted] == [
            (1, None, Decimal(1)),
            (4, "deleted", None),
        ]
        new = read_candle_history(changed.settings, HOUR, "BTC", "X", at("2026-03-01T12:00")).versions.to_pylist()
        assert [(row["publication"], row["change"]) for row in new] == [(2, "inserted")]

    def test_publications_that_are_not_recorded_are_named(self, history: RecordedHistory) -> None:
        later = change(history).job([hour(10, "9")])
        found = read_candle_history(history.settings, HOUR, "BTC", "X", at("2026-03-01T10:00"))
        assert (len(found.versions), found.known_until) == (3, later.seen_at)

    def test_a_window_without_a_candle_has_no_versions(self, changed: RecordedHistory) -> None:
        assert len(read_candle_history(changed.settings, HOUR, "BTC", "X", at("2020-01-01")).versions) == 0
        with pytest.raises(UnknownSeriesError):
            read_candle_history(changed.settings, HOUR, "BTC", "Z", at("2020-01-01"))
        with pytest.raises(InputError, match="there is no window at 9999-12-31T23:30:00Z: give another time"):
            read_candle_history(changed.settings, HOUR, "BTC", "X", at("9999-12-31T23:30"))
        early = at("0001-01-01T00:00") + timedelta(minutes=1)
        assert len(read_candle_history(changed.settings, HOUR, "BTC", "X", early).versions) == 0
