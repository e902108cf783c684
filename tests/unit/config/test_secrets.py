"""Secrets from variables and files: only small text files, and no values that a client cannot send."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ohlcv.config.settings import GENERAL_NAMES, load_settings
from ohlcv.config.values import MAX_FILE_BYTES
from ohlcv.model.errors import InputError

POSTGRES = "postgresql://candles@db.example:6432/market"
REST = {"OHLCV_CATALOG_URI": "http://rest:19120/iceberg"}
SECRET_FILES = [name for name in GENERAL_NAMES if name.endswith("_FILE") and name != "OHLCV_CATALOG_CA_FILE"]


def base_of(secret_file: str) -> dict[str, str]:
    """Return settings with which a secret is read."""
    return {
        "OHLCV_S3_SECRET_KEY_FILE": {"OHLCV_WAREHOUSE": "s3://bucket"},
        "OHLCV_AIRFLOW_PASSWORD_FILE": {"OHLCV_AIRFLOW_URL": "http://a:8080"},
    }.get(secret_file, {})


def test_an_unreadable_password_file_is_reported_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^OHLCV_CATALOG_PASSWORD_FILE cannot be read: No such file or directory$"):
        load_settings({"OHLCV_CATALOG_PASSWORD_FILE": str(tmp_path / "gone")})


def test_a_secret_file_may_be_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("hunter2\n")
    (tmp_path / "password").symlink_to("data")
    settings = load_settings({"OHLCV_CATALOG_URI": POSTGRES, "OHLCV_CATALOG_PASSWORD_FILE": str(tmp_path / "password")})
    assert settings.catalog.description.properties["jdbc.password"] == "hunter2"


def test_a_secret_file_that_is_no_small_text_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "large").write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    (tmp_path / "binary").write_bytes(b"\x80\xff")
    (tmp_path / "zero").write_bytes(b"a\0b")
    for path, message in (
        ("/dev/zero", "is not a regular file: give a file with only the secret"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "pipe", "is not a regular file: give a file with only the secret"),
        (tmp_path / "link", "is not a regular file: give a file with only the secret"),
        (tmp_path / "large", "is larger than 65536 bytes: give a file with only the secret"),
        (tmp_path / "binary", "is a binary file: give a UTF-8 text file with only the secret"),
        (tmp_path / "zero", "is a binary file: give a UTF-8 text file with only the secret"),
    ):
        for name in SECRET_FILES:
            with pytest.raises(InputError, match=f"^{name} {message}$"):
                load_settings({**base_of(name), name: str(path)})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("OHLCV_HOME", "/a\udcff", "OHLCV_HOME is not UTF-8 text: correct it"),
        ("OHLCV_SPARK_SECRET", "\udc80", "OHLCV_SPARK_SECRET is not UTF-8 text: correct it"),
        ("OHLCV_HOME", "/a\nb", "OHLCV_HOME contains a line break or another control character: remove it"),
        ("OHLCV_CATALOG_URI", f"{POSTGRES}\n", "OHLCV_CATALOG_URI contains a line break or another control character"),
        ("OHLCV_SPARK_WEB", "http://a/\x1b[2J", "OHLCV_SPARK_WEB contains a line break or another control character"),
    ],
)
def test_unprintable_values_are_refused(name: str, value: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        load_settings({name: value})


@pytest.mark.parametrize("token", ["a b", "a\nb", "\xe4"])
def test_a_token_that_http_cannot_send_is_refused(token: str) -> None:
    with pytest.raises(InputError, match=r"^OHLCV_CATALOG_TOKEN contains a space, a line break or .*: correct it$"):
        load_settings({**REST, "OHLCV_CATALOG_TOKEN": token})


def test_an_empty_secret_file_counts_as_unset(tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    settings = load_settings({"OHLCV_CATALOG_TOKEN_FILE": str(tmp_path / "token")})
    assert "token" not in settings.catalog.description.properties
