"""Processes in other time zones and locales."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from support.processes import QUICK_JAVA

# On a busy machine twenty commands take minutes.
COMMANDS_SECONDS = 900
LOCALE_SOURCES = Path("/usr/share/i18n/locales")
# One process for many commands saves the imports of each.
_PROGRAM = """
import json, sys
from ohlcv.cli.main import main

for arguments in json.load(sys.stdin):
    try:
        main(arguments)
    except SystemExit as end:
        assert end.code == 0, (arguments, end.code)
"""


def compile_locales(folder: Path, names: Iterable[str]) -> None:
    """Compile locales of the C library, if its sources are installed; without, programs in C use the locale C."""
    folder.mkdir()
    for name in names if LOCALE_SOURCES.exists() else ():
        compiled = folder / f"{name}.UTF-8"
        # The exit code is not 0 after a warning.
        subprocess.run(["localedef", "-i", name, "-f", "UTF-8", str(compiled)], check=False)
        assert compiled.exists(), f"localedef did not compile {name}"


def environment_of(zone: str, locale: str, locales: Path) -> dict[str, str]:
    """Return the variables with which Java, Python and programs in C use a time zone and a locale such as tr_TR."""
    language, _, country = locale.partition("_")
    java = f" -Duser.language={language} -Duser.country={country}" if country else ""
    name = f"{locale}.UTF-8" if country else locale
    return {"TZ": zone, "LC_ALL": name, "LOCPATH": str(locales), QUICK_JAVA[0]: f"{QUICK_JAVA[1]}{java}"}


def run_commands(commands: Sequence[Sequence[str]], variables: Mapping[str, str]) -> str:
    """Run `ohlcv` commands one after another in one new process, and return what they print."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={**os.environ, **variables},
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        timeout=COMMANDS_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
