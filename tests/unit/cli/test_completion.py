"""Shell completion by click's variable."""

from __future__ import annotations

import pytest

from ohlcv.cli.commands import COMPLETION, run_command


def test_a_shell_completes_the_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {COMPLETION: "bash_complete", "COMP_WORDS": "ohlcv ta", "COMP_CWORD": "1"}.items():
        monkeypatch.setenv(name, value)
    assert run_command([]) == 0
    assert capsys.readouterr().out == "plain,tables\n"
