"""Jars of Iceberg, the catalogs, the stores and native execution: their pins, the chosen sets, and the download.

The set-up stores the choice of OHLCV_JAR_SETS. Every process of an engine then uses the same class path, for which
CDS archives exist.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ohlcv.config.execution import ENGINES, Engine
from ohlcv.model.errors import InputError, OhlcvError

ICEBERG = "1.12.0"
# Variable with the names of the jar sets, separated by commas.
SETS_VARIABLE = "OHLCV_JAR_SETS"


@dataclass(frozen=True)
class Jar:
    """A jar from Maven Central, pinned by its checksum."""

    group: str
    artifact: str
    version: str
    # None: not pinned. The resolver compares the download with the checksum of the repository only.
    sha256: str | None

    @property
    def coordinate(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file_name(self) -> str:
        # Ivy names its copies like this.
        return f"{self.group}_{self.artifact}-{self.version}.jar"


# On every class path.
BASE_JARS = (
    Jar(
        "org.apache.iceberg",
        "iceberg-spark-runtime-4.1_2.13",
        ICEBERG,
        "3123c3798af642dd537230923548e013ef41cc28b6626e5225808cf5670a0f82",
    ),
    Jar(
        "org.xerial",
        "sqlite-jdbc",
        "3.54.1.0",
        "f8dce420a6016278497f4f0560f65602b9db858de141b541cf91a4644ebe4639",
    ),
    Jar(
        "org.postgresql",
        "postgresql",
        "42.7.14",
        "73914527305a40cce504b0d3d90b23caf565136912d607ae8ae7c5895512332c",
    ),
)
JAR_SETS = {
    # S3, Glue, SigV4. A CDS archive is valid for one class path only (ohlcv.setup.class_data_sharing), and a jar from
    # which nothing is loaded costs almost nothing, so the default contains this set also for warehouses in a folder.
    "aws": (
        Jar(
            "org.apache.iceberg",
            "iceberg-aws-bundle",
            ICEBERG,
            "dd7e49ffa4ac9b215bed846581991259e3aec9bb2fa08d6cec029c46cd66d957",
        ),
    ),
    # Google Cloud Storage and Azure. Not run by the tests.
    "gcp": (Jar("org.apache.iceberg", "iceberg-gcp-bundle", ICEBERG, None),),
    "azure": (Jar("org.apache.iceberg", "iceberg-azure-bundle", ICEBERG, None),),
    # The Hive client is part of pyspark. This set keeps its jars in the slim Spark home.
    "hive": (),
    # Native execution. Only on the class path of native jobs.
    "native": (
        Jar(
            "org.apache.datafusion",
            "comet-spark-spark4.1_2.13",
            "1.2.0",
            "5055c43dca9e8cce83c33b1ff25646d1436c94698ca48beb3475bf60843b8d37",
        ),
    ),
}
DEFAULT_SETS = ("aws", "native")
# Default of the set-ups that stored a choice without the default of their version.
_FIRST_DEFAULT = "aws"
# Folders of the native library in its jar, by the name of the processor.
_LIBRARY_FOLDERS = {"x86_64": "amd64", "aarch64": "aarch64"}
_LIBRARY = "libcomet.so"


def share_directory() -> Path:
    """Return the folder in the virtual environment for everything that setup downloads or builds."""
    return Path(sys.prefix) / "share" / "ohlcv"


def chosen_sets() -> tuple[str, ...]:
    """Return the jar sets of OHLCV_JAR_SETS, by default those of the set-up."""
    text = os.environ.get(SETS_VARIABLE) or _stored_choice()
    names = {name.strip() for name in text.split(",") if name.strip()} or set(DEFAULT_SETS)
    if unknown := sorted(names - JAR_SETS.keys()):
        raise InputError(f"{SETS_VARIABLE} names the unknown set '{unknown[0]}': use some of {', '.join(JAR_SETS)}")
    # In one order, because a CDS archive depends on the order of the class path.
    return tuple(name for name in JAR_SETS if name in names)


def store_choice() -> None:
    """Make the chosen sets those of every later process."""
    sets = chosen_sets()
    _choice_file().parent.mkdir(parents=True, exist_ok=True)
    _choice_file().write_text(f"{','.join(sets)}\n{','.join(DEFAULT_SETS)}\n")


def _stored_choice() -> str:
    """Return the choice of the set-up, with the sets that became a default since."""
    try:
        chosen, _, default = _choice_file().read_text().partition("\n")
    except FileNotFoundError:
        return ""
    known = (default.strip() or _FIRST_DEFAULT).split(",")
    return ",".join([chosen, *(name for name in DEFAULT_SETS if name not in known)])


def choice_suffix() -> str:
    """Return the ending of folders that are valid for the chosen sets only, empty for the default."""
    # The set `native` does not change the class path of the other engine.
    sets = [name for name in chosen_sets() if name != "native"]
    return "" if sets == [name for name in DEFAULT_SETS if name != "native"] else f"-{'-'.join(sets)}"


def find_missing_set(required: Iterable[str]) -> str | None:
    """Return a message with the remedy if a required set was not chosen, otherwise None."""
    chosen = chosen_sets()
    missing = [name for name in required if name not in chosen]
    if not missing:
        return None
    wanted = ",".join(name for name in JAR_SETS if name in (*chosen, *missing))
    return f"the catalog or the store needs the jar set {missing[0]}: run '{SETS_VARIABLE}={wanted} make setup'"


def chosen_engines() -> tuple[Engine, ...]:
    """Return the engines whose jars are in the chosen sets."""
    return ENGINES if "native" in chosen_sets() else ("jvm",)


def chosen_jars(engine: Engine = "native") -> tuple[Jar, ...]:
    """Return the jars of the chosen sets that an engine uses, in class path order."""
    names = [name for name in chosen_sets() if engine == "native" or name != "native"]
    return (*BASE_JARS, *(jar for name in names for jar in JAR_SETS[name]))


def jar_paths(engine: Engine = "jvm") -> list[Path]:
    """Return the paths of the jars of an engine in class path order."""
    paths = [jar_folder() / jar.file_name for jar in chosen_jars(engine)]
    for path in paths:
        if not path.is_file():
            raise OhlcvError(_missing_jar_message(path))
    return paths


def jar_folder() -> Path:
    """Return the folder of the jars. OHLCV_JARS overrides it."""
    return Path(os.environ.get("OHLCV_JARS") or share_directory() / "jars")


def library_folder() -> Path:
    """Return the folder of the native library, which the set-up takes out of its jar.

    Otherwise every JVM would copy it (145 MB) to the folder for temporary files, and a killed one would leave it there.
    """
    return jar_folder() / "native"


def extract_library() -> None:
    """Take the native library for this processor out of its jar, unless that is done."""
    [jar] = JAR_SETS["native"]
    member = f"org/apache/comet/linux/{_LIBRARY_FOLDERS.get(platform.machine())}/{_LIBRARY}"
    library = library_folder() / _LIBRARY
    with zipfile.ZipFile(jar_folder() / jar.file_name) as archive:
        # Jobs report a processor for which there is no library, and run on the JVM.
        if member not in archive.namelist():
            return
        if library.is_file() and library.stat().st_size == archive.getinfo(member).file_size:
            return
        library.parent.mkdir(parents=True, exist_ok=True)
        partial = library.with_suffix(".partial")
        with archive.open(member) as source, partial.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        partial.rename(library)


def find_jar_problem(jar: Jar) -> str | None:
    """Return a message with the remedy if a jar is missing or has another checksum, otherwise None."""
    path = jar_folder() / jar.file_name
    found = _checksum(path)
    if found is None:
        return _missing_jar_message(path)
    if jar.sha256 not in (None, found):
        return f"the jar {path} has checksum {found}, not the pinned {jar.sha256}: remove it and run 'make setup'"
    return None


def fetch_jars(spark_home: Path, environment: dict[str, str]) -> Path:
    """Download the jars with spark-submit's resolver, verify their checksums and return their folder."""
    folder = share_directory() / "jars"
    missing = [jar for jar in chosen_jars() if not _is_complete(folder / jar.file_name, jar)]
    if not missing:
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch) / "empty.py"
        script.write_text("")
        command = [
            str(spark_home / "bin" / "spark-submit"),
            *("--packages", ",".join(jar.coordinate for jar in missing)),
            *("--conf", f"spark.jars.ivy={scratch}/ivy"),
            str(script),
        ]
        # A machine that builds an image may not be able to resolve its own host name.
        loopback = {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_HOSTNAME": "127.0.0.1"}
        result = subprocess.run(command, env=environment | loopback, capture_output=True, text=True, check=False)
        downloads = Path(scratch) / "ivy" / "jars"
        folder.mkdir(parents=True, exist_ok=True)
        for jar in missing:
            found = _checksum(downloads / jar.file_name)
            if found is None:
                lines = [line.strip() for line in result.stderr.splitlines() if not line.startswith("\tat ")]
                errors = [line for line in lines if "Exception" in line or "not found" in line]
                reason = (errors or lines or ["no output of spark-submit"])[-1]
                raise OhlcvError(f"could not download {jar.coordinate} ({reason}): check access to Maven Central")
            if jar.sha256 not in (None, found):
                raise OhlcvError(
                    f"{jar.coordinate} has checksum {found}, not the pinned {jar.sha256}: check the Maven mirror"
                )
            shutil.move(downloads / jar.file_name, folder / jar.file_name)
    return folder


def _choice_file() -> Path:
    return share_directory() / "jar-sets"


def _is_complete(path: Path, jar: Jar) -> bool:
    return path.is_file() and jar.sha256 in (None, _checksum(path))


def _missing_jar_message(jar: Path) -> str:
    return f"the jar {jar.name} is not in {jar.parent}: run 'make setup'"


def _checksum(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
