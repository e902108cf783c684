"""Standard streams that the caller has closed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Opens a file, as a command opens the catalog, and writes to both streams.
PROGRAM = """
import os, sys
from ohlcv.cli.streams import OutputError, secure_streams
secure_streams()
file = open(sys.argv[1], "w")
code = 10 if file.fileno() < 3 else 0
print("message", file=sys.stderr)
try:
    print("result", flush=True)
except OutputError:
    code += 1
file.close()
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("closed", "code"), [("<&-", 0), ("2>&-", 0), (">&-", 1), ("<&- >&- 2>&-", 1), ("2>/dev/full", 0)]
)
def test_a_file_never_becomes_a_closed_stream(tmp_path: Path, closed: str, code: int) -> None:
    file = tmp_path / "catalog"
    command = ["sh", "-c", f'exec "$0" -c "$1" "$2" {closed}', sys.executable, PROGRAM, str(file)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stderr
    assert file.read_text() == ""
    assert result.stdout == ("result\n" if code == 0 else "")
