"""Check of the commands that the tests of this folder need, before the first one starts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

REQUIRE_COMMANDS = Path(__file__).parents[2] / "tools" / "require_commands.sh"


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.option.collectonly:
        return
    for lane in ("containers", "compose"):
        if any(item.get_closest_marker(lane) for item in session.items):
            result = subprocess.run([REQUIRE_COMMANDS, lane], capture_output=True, text=True, check=False)
            if result.returncode:
                pytest.exit(result.stderr.strip(), returncode=1)
