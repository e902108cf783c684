"""Notifications: the error line, escaping, and links to the runbook."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
        (MemoryError(), "MemoryError"),
        (ValueError(" "), "ValueError"),
        ("x" * 600, "x" * 500),
    ],
)
def test_the_line_that_names_the_cause_is_found(error: object, line: str) -> None:
    from ohlcv.orchestration.callbacks import summarize_error

    assert summarize_error(error) == line


def test_the_error_of_a_failed_task_is_stored_only_where_there_is_one() -> None:
    """In the DAG processor, which calls the callback for a lost task process, an XCom cannot be stored."""
    from ohlcv.orchestration.callbacks import ERROR_KEY, task_failed

    stored: list[tuple[str, str]] = []
    instance = SimpleNamespace(task_id="aggregate", xcom_push=lambda *, key, value: stored.append((key, value)))
    lost: Any = {"ti": instance}
    task_failed(lost)
    assert stored == []
    task_failed(lost | {"exception": ValueError("error: no table: run this")})
    assert stored == [(ERROR_KEY, "aggregate: no table: run this")]


def test_all_values_are_escaped() -> None:
    from ohlcv.orchestration.notifications import Notification

    notification = Notification("<b>", (("Error", 'a <script> & "b"'),), (("Run", 'http://x/?a="1"&b=<2>'),))
    assert notification.as_html() == (
        "<h3>&lt;b&gt;</h3><table><tr><td><b>Error</b></td><td>a &lt;script&gt; &amp; &quot;b&quot;</td></tr></table>"
        '<ul><li><a href="http://x/?a=&quot;1&quot;&amp;b=&lt;2&gt;">Run</a></li></ul>'
    )
    assert notification.as_slack() == (
        '*&lt;b&gt;*\nError: a &lt;script&gt; &amp; "b"\n<http://x/?a="1"&amp;b=&lt;2&gt;|Run>'
    )


def test_every_linked_section_is_in_the_runbook() -> None:
    from ohlcv.orchestration.callbacks import FAILED_SECTION, LATE_SECTION, LEDGER_SECTION, RETENTION_SECTION
    from ohlcv.orchestration.health_alerts import NOT_MEASURED_SECTION, SECTIONS
    from ohlcv.orchestration.ledger_tasks import GAP_SECTION

    text = RUNBOOK.read_text()
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.M)
    }
    linked = {FAILED_SECTION, LATE_SECTION, RETENTION_SECTION, LEDGER_SECTION, GAP_SECTION}
    assert {*SECTIONS.values(), NOT_MEASURED_SECTION, *linked} <= headings
    # The runbook's own links lead to its sections too.
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= headings
