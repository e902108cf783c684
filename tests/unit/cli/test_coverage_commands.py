"""`ohlcv coverage`: the states, the recording and the notes."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from support.command_line import WarmCommandLine
from support.coverage_rows import hour_row, rejected_row, write_coverage

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
RANGE = ("--start", "2026-03-01T00:00Z", "--end", "2026-03-01T04:00Z")
NOTE = ("--kind", "outage", "--exchange", "X", "--start", "2026-03-01T02:30Z", "--end", "2026-03-01T03:00Z")
BY_ANN = ("--author", "Ann", "--reason", "status page")
TRADES = ("--trades", "500", "--hours", "2", "--end", "2026-03-01T12:00Z")


@pytest.fixture
def settings(warm: WarmCommandLine) -> Settings:
    """Return the settings of a coverage of two series."""
    settings = load_settings({"OHLCV_HOME": str(warm.home)})
    create_tables(settings)
    rows = [
        hour_row(0, [1, 2], minutes=1),
        hour_row(1, [3, 4], minutes=1 << 10, duplicates=2, rejected_bad_price=3),
        hour_row(2, [7], symbol="ETH", delays=[0, 0, 0, 1, 0, 0, 0, 0, 0]),
        rejected_row(2),
        rejected_row(2, 1, "", "X"),
        hour_row(3, [7]),
    ]
    write_coverage(settings, rows, 4)
    return settings


def notes_snapshot(settings: Settings) -> int | None:
    snapshot = load_table(open_catalog(settings), settings.coverage_notes_contract).current_snapshot()
    return None if snapshot is None else snapshot.snapshot_id


@pytest.mark.usefixtures("settings")
class TestShow:
    def test_a_row_per_series_has_its_hours_by_state(self, warm: WarmCommandLine) -> None:
        nothing, bitcoin, ether = json.loads(warm.succeed("coverage", *RANGE, "--format", "json"))
        assert (nothing["symbol"], nothing["unknown"], nothing["rejected"]) == ("", 1, 1)
        assert bitcoin == {
            **{"exchange": "X", "symbol": "BTC", "no_gap": 0, "sequence_gaps": 2, "silent": 1, "no_data": 0},
            **{"source_expired": 0, "unknown": 1, "accepted": 5, "missing": 2, "rejected": 4, "duplicates": 2},
            **{"superseded": 0, "longest_silence": 109, "delay_p50": "0.1 s", "delay_p95": "0.1 s"},
            **{"delay_p99": "0.1 s", "notes": []},
        }
        assert (ether["silent"], ether["delay_p95"]) == (1, "1 min")

    def test_without_source_sequences_it_is_not_known_what_is_missing(
        self, warm: WarmCommandLine, settings: Settings
    ) -> None:
        write_coverage(settings, [hour_row(0, symbol="SOL"), hour_row(0, symbol="SOL", exchange="Y")], 4)
        (nowhere, _) = json.loads(warm.succeed("coverage", *RANGE, "--symbol", "SOL", "--format", "json"))
        assert nowhere["missing"] is None
        line = warm.succeed("coverage", *RANGE, "--symbol", "SOL").splitlines()[4]
        assert line.split()[:6] == ["X", "SOL", "3", "1", "-", "1"]

    def test_the_table_shows_the_same(self, warm: WarmCommandLine) -> None:
        lines = warm.succeed("coverage").splitlines()
        assert lines[4].split()[:3] == ["X", "-", "1"]
        assert lines[5].split() == ["X", "BTC", "2", "1", "1", "2", "5", "4", "2", "109", "0.1", "s"]

    def test_the_table_leaves_out_columns_without_a_value(self, warm: WarmCommandLine) -> None:
        lines = warm.succeed("coverage", "--symbol", "ETH").splitlines()
        assert re.split(r"  +", lines[2].strip()) == [
            *("exchange", "symbol", "silent", "unknown", "missing", "trades", "silence, min", "delay p95")
        ]
        lines = warm.succeed("coverage", "--symbol", "ETH", "--by", "hour").splitlines()
        assert re.split(r"  +", lines[2].strip()) == [
            *("exchange", "symbol", "hour", "state", "missing", "trades", "silence, min", "delay p95", "detail")
        ]

    def test_no_series_is_noted(self, warm: WarmCommandLine) -> None:
        result = warm.run("coverage", "--end", "2026-02-01T00:00Z")
        assert (result.returncode, result.stdout) == (0, "")
        assert "note: no series has trades in these hours, and none is expected" in result.stderr

    def test_a_row_per_hour_has_all_facts(self, warm: WarmCommandLine) -> None:
        text = warm.succeed("coverage", *RANGE, "--by", "hour", "--symbol", "BTC", "--format", "csv")
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row["state"] for row in rows] == ["unknown", "sequence gaps", "silent", "sequence gaps"]
        assert [row["missing"] for row in rows] == ["", "0", "", "2"]
        assert rows[1]["hour"] == "2026-03-01T01:00:00Z"
        assert rows[1]["delays"] == "2;0;0;0;0;0;0;0;0"
        assert rows[1]["deliveries"] == "7"
        assert rows[1]["lowest_sequence"] == "3"
        lines = warm.succeed("coverage", "--by", "hour", "--symbol", "BTC").splitlines()
        (line,) = [each for each in lines if "silent" in each]
        assert line.split()[:9] == ["X", "BTC", "2026-03-01T02:00:00Z", "silent", "-", "0", "1", "0", "60"]

    def test_hours_without_a_row_have_a_state(self, warm: WarmCommandLine) -> None:
        rows = json.loads(warm.succeed("coverage", "--by", "hour", "--symbol", "ETH", "--format", "json"))
        assert [(row["state"], row["accepted"], row["deliveries"]) for row in rows] == [
            ("unknown", 1, 1),
            ("silent", 0, None),
        ]

    def test_hours_that_are_not_counted_are_noted(self, warm: WarmCommandLine, settings: Settings) -> None:
        write_coverage(settings, [], 4, pending=[1])
        result = warm.run("coverage", "--start", "2026-03-01", "--end", "2026-03-01T06:00Z")
        assert "hours from 2026-03-01T04:00:00Z on are not counted yet" in result.stderr
        assert "1 hours are counted again soon" in result.stderr

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--exchange", "Q"), "the coverage has no trade of exchange 'Q'"),
            (("--exchange", "X", "--symbol", "Q"), "the coverage has no trade of symbol 'Q' on 'X'"),
            (("--start", "2026-03-02", "--end", "2026-03-01"), "must be before end"),
            (("--start", "2026-01-01", "--end", "2026-03-01"), "longer than 31 days"),
            (("--start", "0001-01-01"), "outside the years"),
            (("--start", "soon"), "not an ISO time"),
            (("--by", "day"), "'day' is not one of"),
            (("--exchange", "X", "record"), "remove them"),
        ],
    )
    def test_invalid_requests_end_with_one_line(
        self, warm: WarmCommandLine, arguments: tuple[str, ...], message: str
    ) -> None:
        assert message in warm.fail(2, "coverage", *arguments)


def test_nothing_is_shown_before_the_first_recording(warm: WarmCommandLine) -> None:
    create_tables(load_settings({"OHLCV_HOME": str(warm.home)}))
    assert warm.fail(1, "coverage") == "no coverage is recorded yet: run 'ohlcv coverage record'"
    assert "no coverage is recorded yet" in warm.run("coverage", *RANGE).stderr


def test_record_counts_until_nothing_is_left(warm: WarmCommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    from ohlcv.coverage import recording

    create_tables(load_settings({"OHLCV_HOME": str(warm.home)}))
    warm.succeed("trades", "sample", *TRADES)
    monkeypatch.setattr(recording.record_coverage, "__defaults__", (None, lambda _: None, 1, recording.MAX_ROWS))
    reports = list(map(json.loads, warm.succeed("coverage", "record", "--format", "json").splitlines()))
    assert [(report["hours"], report["pending_hours"]) for report in reports] == [(1, 1), (1, 0)]
    assert sum(report["accepted"] for report in reports) == 500
    row = warm.succeed("coverage", "record").splitlines()[4].split()
    assert row[0] == "0"
    found = json.loads(warm.succeed("coverage", "--end", "2026-03-01T12:00Z", "--format", "json"))
    assert sum(each["accepted"] for each in found) == 500


class TestNotes:
    def test_a_note_shows_in_its_hours_until_it_is_withdrawn(self, warm: WarmCommandLine, settings: Settings) -> None:
        name = warm.succeed("coverage", "note", "add", *NOTE, *BY_ANN).strip()
        result = warm.run("coverage", *RANGE, "--symbol", "BTC", "--by", "hour", "--format", "json")
        assert [row["notes"] for row in json.loads(result.stdout)] == [[], [], [name], []]
        text = "outage of X, 2026-03-01T02:30:00Z to 2026-03-01T03:00:00Z: status page (Ann)"
        assert f"note: {name}: {text}" in result.stderr
        listed = json.loads(warm.succeed("coverage", "note", "list", "--format", "json"))
        assert (listed["note"], listed["author"], listed["symbol"]) == (name, "Ann", None)
        assert name in warm.succeed("coverage", "note", "list", "--symbol", "ETH")
        other = warm.succeed("coverage", "note", "add", *NOTE, *BY_ANN, "--symbol", "ETH").strip()

        assert warm.succeed("coverage", "note", "withdraw", name, "--author", "Bo") == f"note {name} is withdrawn\n"
        assert [json.loads(warm.succeed("coverage", "note", "list", "--format", "json"))["note"]] == [other]
        (line,) = [each for each in warm.succeed("coverage", "note", "list", "--all").splitlines() if name in each]
        assert "by Bo" in line
        found = warm.succeed("coverage", *RANGE, "--symbol", "BTC", "--format", "json")
        assert json.loads(found)[0]["notes"] == []
        before = notes_snapshot(settings)
        assert "was withdrawn by Bo" in warm.fail(2, "coverage", "note", "withdraw", name, "--author", "Bo")
        assert notes_snapshot(settings) == before

    def test_a_listed_series_is_expected(self, warm: WarmCommandLine, settings: Settings) -> None:
        request = ("--kind", "expected", "--exchange", "Z", "--symbol", "NEW", "--start", "2026-03-01")
        warm.succeed("coverage", "note", "add", *request, *BY_ANN)
        (found,) = json.loads(warm.succeed("coverage", "--exchange", "Z", *RANGE, "--format", "json"))
        assert (found["symbol"], found["no_data"]) == ("NEW", 4)
        warm.succeed("coverage", "note", "add", *NOTE, *BY_ANN, "--exchange", "Z")
        assert notes_snapshot(settings)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (NOTE, "Missing option '--author'"),
            ((*NOTE, "--author", " ", "--reason", "x"), "the value is empty"),
            ((*NOTE, "--author", "Ann"), "Missing option '--reason'"),
            ((*NOTE, *BY_ANN, "--end", "2026-03-01T02:30Z"), "must be before end"),
            ((*NOTE, *BY_ANN, "--kind", "party"), "'party' is not one of"),
            ((*NOTE, *BY_ANN, "--exchange", "Q"), "the coverage has no trade of exchange 'Q'"),
            ((*NOTE, *BY_ANN, "--symbol", "Q"), "the coverage has no trade of symbol 'Q' on 'X'"),
            ((*NOTE, *BY_ANN, "--kind", "expected"), "add the symbol"),
            ((*NOTE, *BY_ANN, "--reason", "a\nb"), "the reason has a line break"),
            ((*NOTE, *BY_ANN, "--author", "a\x1b[31m"), "the author has a line break or control character"),
            ((*NOTE, *BY_ANN, "--reason", "x" * 501), "longer than 500 characters"),
        ],
    )
    def test_an_invalid_note_ends_with_one_line_and_is_not_written(
        self, warm: WarmCommandLine, settings: Settings, arguments: tuple[str, ...], message: str
    ) -> None:
        assert message in warm.fail(2, "coverage", "note", "add", *arguments)
        assert notes_snapshot(settings) is None

    def test_an_unknown_note_cannot_be_withdrawn(self, warm: WarmCommandLine, settings: Settings) -> None:
        assert "there is no note 'n'" in warm.fail(2, "coverage", "note", "withdraw", "n", "--author", "Bo")
        assert notes_snapshot(settings) is None
