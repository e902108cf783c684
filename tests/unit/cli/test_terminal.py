"""Human-readable output without control characters, and progress of long tasks."""

from __future__ import annotations

import io
import sys

import pytest
from rich import box
from rich.table import Table

from ohlcv.cli import terminal
from ohlcv.cli.control_characters import displayable, neutralize
from ohlcv.cli.terminal import echo, note, print_table, show_progress
from ohlcv.cli.trades import _print_report
from ohlcv.ingest.loader import LoadReport, RefusedRow
from support.command_line import WarmCommandLine

HOSTILE = "\x1b]0;title\x07\x9b31m\x7f\r\n\u202eBTC\u2066\udcff"
ESCAPED = r"\x1b]0;title\x07\x9b31m\x7f\r\n\u202eBTC\u2066\udcff"


def test_control_characters_are_escaped() -> None:
    for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xD800, 0xDFFF):
        assert neutralize(f"a{chr(code)}b").isascii()
        assert neutralize(f"a{chr(code)}b").isprintable()
    text = "BTC-USD … [b]é€漢🚀"
    assert neutralize(text) == text
    assert neutralize("a\n\tb\r", keep="\n\t") == "a\n\tb\\r"


def test_characters_that_a_stream_cannot_encode_are_escaped() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert displayable("é…\udcff", stream) == "é\\u2026\\udcff"


def test_every_way_to_print_escapes_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    echo(HOSTILE)
    note(HOSTILE)
    with show_progress(HOSTILE):
        pass
    output, errors = capsys.readouterr()
    assert output == f"{ESCAPED}\n"
    assert errors.startswith(f"note: {ESCAPED}\n{ESCAPED} …\n{ESCAPED}: ")


def test_a_table_escapes_control_characters_in_its_layout(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(title="a\x1b", box=box.ASCII)
    table.add_column("a\x1bb")
    table.add_column("second")
    table.add_row("[b]\x1b[31m", "x")
    table.add_row("two\nlines", "y")
    print_table(table)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == r"a\x1b"
    assert len({len(line) for line in lines[1:]}) == 1
    assert [line.split() for line in lines[4:7]] == [
        ["|", r"[b]\x1b[31m", "|", "x", "|"],
        ["|", "two", "|", "y", "|"],
        ["|", "lines", "|", "|"],
    ]


def test_refused_rows_escape_control_characters_but_json_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    report = LoadReport(
        files=[], rows_read=1, refused=[RefusedRow("a\x1b.csv", 1, "price is '\u202e1'")], refused_count=1
    )
    _print_report(report, as_json=False)
    text = capsys.readouterr().out
    assert r"a\x1b.csv" in text
    assert r"price is '\u202e1'" in text
    _print_report(report, as_json=True)
    assert r"a\u001b.csv" in capsys.readouterr().out


def test_errors_escape_control_characters(warm: WarmCommandLine) -> None:
    message = warm.fail(2, "candles", "--timeframe", "\x1b[31m\u202e")
    assert message.startswith(r"unknown timeframe '\x1b[31m\u202e'")
    assert r"'\x9b'" in warm.fail(2, "trades", "sample", "--trades", "\x9b")


def test_a_long_task_shows_its_steps(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(terminal, "LINE_SECONDS", 0)
    with show_progress("validating") as show:
        show("day 1 of 2")
    assert capsys.readouterr().err.splitlines()[:2] == ["validating …", "validating: day 1 of 2 …"]
    with show_progress("validating", quiet=True) as show:
        show("day 1 of 2")
    assert capsys.readouterr().err == ""


def test_a_spinner_escapes_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with show_progress("[b]\x1b]0;x\x07") as show:
        show("\x9b31m")
    errors = capsys.readouterr().err
    assert r"[b]\x1b]0;x\x07" in errors
    assert "\x1b]0;" not in errors
    assert "\x9b" not in errors
