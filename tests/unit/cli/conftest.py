"""The command line in this process and in new ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.command_line import ColdCommandLine, WarmCommandLine


@pytest.fixture
def warm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> WarmCommandLine:
    return WarmCommandLine(tmp_path, monkeypatch, capsys)


@pytest.fixture
def cold(tmp_path: Path) -> ColdCommandLine:
    return ColdCommandLine(tmp_path)
