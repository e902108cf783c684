"""Kinds of cases with hostile settings: every OHLCV_… variable with values that nobody should set."""

from __future__ import annotations

import dataclasses
import os
import random

from hostile.case import Case, Site
from hostile.command_kinds import reading_command
from ohlcv.config.settings import GENERAL_NAMES, Tuning
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES

SECRET = "correct-horse-battery"  # must never be printed
TUNING_NAMES = [f"OHLCV_{field.name.upper()}" for field in dataclasses.fields(Tuning)]
NAMES = [
    *GENERAL_NAMES,
    *TUNING_NAMES,
    *(
        name.replace("OHLCV_", f"OHLCV_{timeframe.upper()}_", 1)
        for timeframe in DEFAULT_TIMEFRAMES
        for name in TUNING_NAMES
    ),
]
# Names of the test machine's own services and of what only a Spark job reads are not hostile in these commands.
# fmt: off
VALUES = (
    "", " ", "\t", "\n", "0", "-1", "1", "00", "1_440", "\u00b2", "\u0663", "\uff11", "1e3", "0x10", "1.5", "9" * 30,
    "NaN", "+1", "512m", "0m", "511m", "9" * 20 + "g", "1k", "true", "None", "\x1b[31m", "\udcff", "a\x7f",
    "x" * 5000, "\u202e", "%", "#", "?", "/dev/zero", "/dev/null", "/dev/full", "/proc/self/mem", "/nonexistent/x",
    "./relative", "..", "~", "a b", "a#b", "a?b", "a%20b", "a:b", "http://", "http://x y/", "http://[",
    "http://[::1", "http://127.0.0.1:99999", "http://127.0.0.1:1", "ftp://127.0.0.1", "HTTP://127.0.0.1:1",
    "https://127.0.0.1:1/", "http://127.0.0.1:1/?a=b#c", "spark://127.0.0.1:1", "local[*]", "local[0]", "yarn",
    "you@example.com", "@", "a@b,,c@d", "sqlite://", "sqlite:///", "sqlite://x/cat.db", "sqlite:///:memory:",
    "sqlite:////dev/zero", "sqlite:///a%2Fb.db", "sqlite:///x?mode=ro", "sqlite:///cat#1.db", "postgresql://",
    "postgresql://u@127.0.0.1:1/d", "postgresql://u@127.0.0.1:x/d", "postgresql://u@127.0.0.1:1/d?connect_timeout=1",
    "postgresql://u@/d", "postgres://u@127.0.0.1/d", "mysql://u@127.0.0.1/d", "file://x/y", "file:///", "file://",
    "file:relative", "file:///a%20b", "s3://", "s3://b", "s3://UPPER/x", "s3://bucket/a?b", "s3://bucket//x",
    "gs://bucket", "s3a://bucket/x", "docker", "worker", "Worker",
)
# fmt: on
CREDENTIALS = (
    f"http://user:{SECRET}@127.0.0.1:1",
    f"https://{SECRET}@127.0.0.1:1/x",
    f"http://127.0.0.1:1/?token={SECRET}",
    f"http://127.0.0.1:1/?password={SECRET}",
    f"postgresql://u:{SECRET}@127.0.0.1:1/d",
    f"postgresql://u@127.0.0.1:1/d?password={SECRET}",
    f"postgresql://u@127.0.0.1:1/d?sslpassword={SECRET}",
    f"s3://user:{SECRET}@bucket/x",
    f"sqlite://u:{SECRET}@x/y.db",
    f"file://u:{SECRET}@x/y",
    f"spark://u:{SECRET}@127.0.0.1:1",
    f"ftp://u:{SECRET}@127.0.0.1",
)
ADDRESSES = (
    "OHLCV_CATALOG_URI",
    "OHLCV_WAREHOUSE",
    "OHLCV_S3_ENDPOINT",
    "OHLCV_SPARK_MASTER",
    "OHLCV_SPARK_WEB",
    "OHLCV_AIRFLOW_URL",
)


def hostile_settings(rng: random.Random, site: Site) -> Case:
    """Run a command with one to three hostile settings."""
    settings = {}
    for name in rng.sample(NAMES, rng.choice((1, 1, 2, 3))):
        settings[name] = rng.choice(_files(site)) if name.endswith("_FILE") else rng.choice(VALUES)
    if rng.random() < 0.1:
        settings[
            rng.choice(
                ("OHLCV_", "OHLCV_HOM", "OHLCV_\u20ac", "OHLCV_2M_DRIVER_MEMORY", "OHLCV_\x1b[31m", "ohlcv_home")
            )
        ] = "x"
    if "OHLCV_AIRFLOW_URL" in settings:
        settings |= {"OHLCV_AIRFLOW_USER": "u", "OHLCV_AIRFLOW_PASSWORD": "p"}
    return Case("settings", [reading_command(rng)], settings, is_readable="OHLCV_HOME" not in settings, restricted=True)


def _files(site: Site) -> list[str]:
    """Return the paths of files that are no secrets."""
    folder = site.case
    (folder / "binary").write_bytes(bytes(range(256)))
    (folder / "large").write_bytes(b"x" * 2_000_000)
    (folder / "empty").touch()
    (folder / "denied").write_text("x")
    (folder / "denied").chmod(0)
    if not (folder / "fifo").exists():
        os.mkfifo(folder / "fifo")
    names = ("binary", "large", "empty", "denied", "fifo", "missing")
    return [
        *(str(folder / name) for name in names),
        str(folder),
        "/dev/zero",
        "/dev/full",
        "/dev/stdin",
        "",
        "~",
        "x" * 300,
    ]


def credentials(rng: random.Random, site: Site) -> Case:
    """Run a command with a password inside an address: it must not be printed."""
    settings = {rng.choice(ADDRESSES): rng.choice(CREDENTIALS)}
    if rng.random() < 0.3:
        settings["OHLCV_AIRFLOW_USER"], settings["OHLCV_AIRFLOW_PASSWORD"] = "u", SECRET
    return Case("credentials", [reading_command(rng)], settings, secret=SECRET)


def services_that_answer_junk(rng: random.Random, site: Site) -> Case:
    """Check the health of services whose ports belong to other programs."""
    name, port = rng.choice(sorted(site.ports.items()))
    address = f"http://127.0.0.1:{port}"
    settings = rng.choice(
        (
            {"OHLCV_SPARK_WEB": address},
            {"OHLCV_AIRFLOW_URL": address, "OHLCV_AIRFLOW_USER": "u", "OHLCV_AIRFLOW_PASSWORD": SECRET},
            {"OHLCV_CATALOG_URI": address},
            {"OHLCV_SPARK_MASTER": f"spark://127.0.0.1:{port}"},
            {"OHLCV_CATALOG_URI": f"postgresql://u@127.0.0.1:{port}/d?connect_timeout=3"},
            {
                "OHLCV_WAREHOUSE": "s3://bucket/x",
                "OHLCV_S3_ENDPOINT": address,
                "OHLCV_S3_ACCESS_KEY": "k",
                "OHLCV_S3_SECRET_KEY": SECRET,
            },
        )
    )
    commands = (["health"], ["health", "--format", "json"], ["doctor"], reading_command(rng))
    return Case("services that answer junk", [rng.choice(commands)], settings, secret=SECRET, note=name)
