"""`ohlcv` commands in a process that obeys file permissions, also if the tests run as root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# One process for all commands: importing the libraries takes seconds.
_PROGRAM = """
import contextlib, io, json, sys
from ohlcv.cli.main import main
from ohlcv.monitoring import doctor
# These checks of `ohlcv doctor` take seconds.
doctor.check_jars = lambda: ()
doctor.check_archives = lambda: "not checked"
doctor.check_native = lambda settings: doctor.Check("native", "unused", "not checked")
results = []
for arguments in json.loads(sys.argv[1]):
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            main(arguments)
        except SystemExit as end:
            results.append((end.code, output.getvalue(), errors.getvalue()))
print(json.dumps(results))
"""

# Exit code, stdout and stderr.
Result = tuple[int, str, str]


def run_restricted(commands: list[list[str]], settings: Mapping[str, str]) -> list[Result]:
    """Run commands one after another without root's right to ignore permissions, and return their results."""
    restrict = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"] if os.getuid() == 0 else []
    done = subprocess.run(
        [*restrict, sys.executable, "-c", _PROGRAM, json.dumps(commands)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(code, output, errors) for code, output, errors in json.loads(done.stdout.splitlines()[-1])]


@contextmanager
def write_protected(folder: Path) -> Iterator[None]:
    """Remove the write permission of a folder and everything in it inside the block."""
    modes = {path: path.stat().st_mode for path in [folder, *folder.rglob("*")]}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
