"""What an alert says, and that it leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            "Cannot execute: spark-submit x. Error code is: 1.\nWARN a\nerror: no table: run this\n",
            "no table: run this",
        ),
        ("error: the first\nerror: the last", "the last"),
        ("\n  something else\nmore", "something else"),
        (None, "no error was given"),
        ("x" * 600, "x" * 500),
    ],
)
def test_the_line_that_says_what_went_wrong_is_found(error: str | None, line: str) -> None:
    from ohlcv.orchestration.incidents import first_line

    assert first_line(error) == line


def test_what_comes_from_outside_is_escaped() -> None:
    from ohlcv.orchestration.alerts import Notice

    notice = Notice("<b>", (("Error", 'a <script> & "b"'),), (("Run", 'http://x/?a="1"&b=<2>'),))
    assert notice.as_html() == (
        "<h3>&lt;b&gt;</h3><table><tr><td><b>Error</b></td><td>a &lt;script&gt; &amp; &quot;b&quot;</td></tr></table>"
        '<ul><li><a href="http://x/?a=&quot;1&quot;&amp;b=&lt;2&gt;">Run</a></li></ul>'
    )
    assert notice.as_slack() == (
        '*&lt;b&gt;*\nError: a &lt;script&gt; &amp; "b"\n<http://x/?a="1"&amp;b=&lt;2&gt;|Run>'
    )


def test_every_section_an_alert_leads_to_is_in_the_runbook() -> None:
    from ohlcv.orchestration.incidents import SECTIONS

    text = RUNBOOK.read_text()
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.M)
    }
    assert {*SECTIONS.values(), "a-run-failed", "daily-health-check"} <= headings
    # The page's own links lead to its sections too.
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= headings
