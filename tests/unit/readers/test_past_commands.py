"""The commands that read the past: `candles --as-of`, `--vintage` and `--history`, and `revisions`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables
from support.candle_rows import COLUMNS, HOUR, Row, at, candle
from support.command_line import WarmCommandLine
from support.ledger import RecordedHistory

# Runs `ohlcv` with the arguments, and returns exit code, stdout and stderr.
Run = Callable[..., tuple[int, str, str]]
SERIES = ("--timeframe", "1h", "--symbol", "BTC", "--exchange", "X")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> RecordedHistory:
    settings = load_settings({"OHLCV_HOME": str(tmp_path_factory.mktemp("commands") / "home")})
    create_tables(settings)
    history = RecordedHistory(settings, HOUR, at("2026-03-01T12:00"))
    history.job([hour(10), hour(11)])
    history.job([hour(10, "2")], causes=["trade added"], lateness=90_000_000, dag_id="ohlcv_1h", run_id="scheduled__2")
    history.job(deleted=[hour(11)], causes=["trade removed"])
    history.record()
    return history


@pytest.fixture
def run(history: RecordedHistory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    shell = WarmCommandLine(Path(history.settings.home).parent, monkeypatch, capsys)

    def run(*arguments: str) -> tuple[int, str, str]:
        result = shell.run(*arguments)
        return result.returncode, result.stdout, result.stderr

    return run


def hour(start: int, close: str = "1") -> Row:
    return candle(HOUR, f"2026-03-01T{start}:00", close)


class TestCandles:
    def test_the_answer_names_the_snapshot(self, history: RecordedHistory, run: Run) -> None:
        state = history.states[1]
        code, output, notes = run("candles", *SERIES, "--as-of", "2026-03-01T12:02:30Z", "--format", "csv")
        assert code == 0
        rows = list(csv.DictReader(io.StringIO(output)))
        assert list(rows[0]) == COLUMNS
        assert [row["close_price"] for row in rows] == ["2.00000000", "1.00000000"]
        assert f"note: from snapshot {state.snapshot}, which readers saw from 2026-03-01T12:02:00Z on\n" in notes
        assert run("candles", *SERIES, "--as-of-snapshot", str(state.snapshot), "--format", "csv")[1] == output

    def test_a_vintage_says_what_it_leaves_out(self, run: Run) -> None:
        code, output, notes = run("candles", *SERIES, "--vintage", "first", "--start", "2026-03-01T00Z")
        assert code == 0
        assert [line.split()[6] for line in output.splitlines() if "BTC" in line] == ["1", "1"]
        assert "note: without what readers saw first at " in notes
        _, output, notes = run("candles", *SERIES, "--vintage", "2h", "--format", "json")
        assert [row["close_price"] for row in json.loads(output)] == ["2.00000000"]
        assert "note: windows before 2026-03-01T10:00:00Z are not known\n" in notes

    def test_a_history_shows_times_causes_and_runs(self, run: Run) -> None:
        code, output, notes = run("candles", *SERIES, "--history", "2026-03-01T10:15Z")
        assert (code, notes) == (0, "")
        table = [line.split() for line in output.splitlines()]
        assert ["2", "2026-03-01T12:02:00Z", "updated", "trade", "added", "1", "min"] in [row[:7] for row in table]
        assert any(row[-2:] == ["ohlcv_1h", "scheduled__2"] for row in table)
        rows = json.loads(run("candles", *SERIES, "--history", "2026-03-01T11:00Z", "--format", "json")[1])
        assert [(row["change"], row["close_price"], row["causes"]) for row in rows] == [
            (None, "1.00000000", []),
            ("deleted", None, ["trade removed"]),
        ]
        assert isinstance(rows[0]["snapshot"], str)
        _, output, notes = run("candles", *SERIES, "--history", "2020-01-01T00:00Z")
        assert (output, notes) == ("", "note: the ledger has no candle of this window: 2020-01-01T00:00:00Z\n")


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (("candles", *SERIES, "--vintage", "first", "--start", "0001-01-01T00Z"), 2),
        (("candles", *SERIES, "--vintage", "first", "--end", "0001-01-01T00Z"), 0),
        (
            (
                "candles",
                *SERIES,
                "--as-of",
                "2026-03-01T12:02Z",
                "--start",
                "0001-01-01T01Z",
                "--end",
                "9999-12-31T00Z",
            ),
            2,
        ),
        (("revisions", *SERIES, "--start", "0001-01-01T00Z", "--end", "9999-12-31T23:59:59.999999Z"), 2),
        (("revisions", *SERIES, "--end", "0001-01-01T01Z"), 0),
    ],
    ids=str,
)
def test_a_range_may_begin_or_end_at_the_first_and_last_time(run: Run, arguments: tuple[str, ...], count: int) -> None:
    code, output, notes = run(*arguments, "--format", "json")
    assert code == 0, notes
    assert len(json.loads(output)) == count


class TestRevisions:
    def test_csv_and_json_have_the_values_before_and_after(self, run: Run) -> None:
        code, output, notes = run("revisions", "--timeframe", "1h", "--format", "csv")
        assert (code, notes) == (0, "note: 2 revisions: continue with --since 3\n")
        rows = list(csv.DictReader(io.StringIO(output)))
        assert [(row["change"], row["before_close_price"], row["after_close_price"]) for row in rows] == [
            ("updated", "1.00000000", "2.00000000"),
            ("deleted", "1.00000000", ""),
        ]
        assert (rows[0]["causes"], rows[0]["lateness"]) == ("trade added", "90000000")
        found = json.loads(run("revisions", "--timeframe", "1h", "--format", "json")[1])
        assert [row["publication"] for row in found] == [2, 3]
        assert found[0]["causes"] == ["trade added"]

    def test_a_table_shows_the_change(self, run: Run) -> None:
        _, output, _ = run("revisions", *SERIES, "--cause", "trade removed")
        assert "deleted" in output
        assert "updated" not in output

    def test_the_next_call_continues(self, run: Run) -> None:
        _, output, notes = run("revisions", "--timeframe", "1h", "--limit", "1", "--format", "json")
        assert (len(json.loads(output)), notes) == (1, "note: 1 revisions: continue with --since 2\n")
        _, output, notes = run("revisions", "--timeframe", "1h", "--since", "3", "--format", "json")
        assert (json.loads(output), notes) == ([], "note: 0 revisions: continue with --since 3\n")


AS_OF = ("--as-of", "2026-03-01T12:02Z")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("candles", *SERIES, *AS_OF, "--fill", "previous"), "--as-of cannot be combined with --fill: remove one"),
        (("candles", *SERIES, *AS_OF, "--vintage", "5m"), "--as-of and --vintage cannot be combined: give one of them"),
        *(
            (
                ("candles", *SERIES, *past, "--measures"),
                f"{past[0]} cannot be combined with --measures, which the ledger does not record: remove one of them",
            )
            for past in (AS_OF, ("--as-of-snapshot", "7"), ("--vintage", "5m"), ("--history", "2026-03-01T10Z"))
        ),
        (("candles", *SERIES, "--as-of", "2200-01-01T00Z"), "as-of 2200-01-01T00:00:00Z is in the future"),
        (
            ("candles", *SERIES, "--as-of", "2026-01-01T00Z"),
            "1h candles as of 2026-01-01T00:00:00Z are not known: avail",
        ),
        (("candles", *SERIES, "--as-of-snapshot", "7"), "unknown snapshot 7 of 1h candles"),
        (("candles", *SERIES, "--as-of-snapshot", "-7"), "Invalid value for '--as-of-snapshot'"),
        (("candles", *SERIES, "--vintage", "-5m"), "vintage '-5m' must be more than zero"),
        (("candles", *SERIES, "--vintage", "0s"), "vintage '0s' must be more than zero"),
        (("candles", *SERIES, "--vintage", "1h", "--start", "2026-02-01T00Z"), "this vintage of 1h candles from"),
        (("candles", "--timeframe", "1h", "--symbol", "DOGE", *AS_OF), "no 1h candle has symbol 'DOGE'"),
        (("candles", "--timeframe", "1h", "--history", "2026-03-01T10Z"), "--history needs --symbol and --exchange"),
        (("candles", *SERIES, "--history", "2026-03-01T10Z", "--limit", "3"), "--history is of one window: remove"),
        (("candles", *SERIES, "--history", "soon"), "'soon' is not an ISO time"),
        (("revisions", "--timeframe", "1h", "--since", "-1"), "since -1 is negative"),
        (("revisions", "--timeframe", "1h", "--since", "4"), "since 4 is after the newest recorded publication"),
        (("revisions", "--timeframe", "1h", "--cause", "weather"), "Invalid value for '--cause'"),
        (("revisions", "--timeframe", "1h", "--follow", "--limit", "1"), "--follow and --limit cannot be combined"),
        (("revisions", *SERIES[:2], "--symbol", "DOGE"), "no 1h candle has symbol 'DOGE'"),
        (("revisions", "--timeframe", "5m"), "the ledger of 5m has not begun: run 'ohlcv ledger record'"),
    ],
    ids=lambda value: " ".join(value[-4:]) if isinstance(value, tuple) else "",
)
def test_an_invalid_request_is_one_line_and_exit_code_2(run: Run, arguments: tuple[str, ...], error: str) -> None:
    code, output, messages = run(*arguments)
    lines = [line for line in messages.splitlines() if not line.startswith("note: no --start")]
    assert (code, output, len(lines)) == (2, "", 1)
    assert lines[0].startswith(f"error: {error}")
