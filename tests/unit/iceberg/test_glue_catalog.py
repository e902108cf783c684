"""Glue catalog: a repeated request that Glue refuses because its first attempt succeeded is no conflict."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField

from ohlcv.iceberg.glue_catalog import ConfirmingGlueCatalog

SCHEMA = Schema(NestedField(1, "n", LongType(), required=False))


# As in the loader, which repeats a commit itself. pyiceberg finds its own commit only when it retries.
NO_RETRIES = {"commit.retry.num-retries": "0"}


class ConflictError(Exception):
    """Glue's ConcurrentModificationException."""


class FakeGlue:
    """The part of Glue that a commit needs. The reply to each update is lost, and boto3 repeats the request."""

    class exceptions:  # noqa: N801 - the library's name
        ConcurrentModificationException = ConflictError
        EntityNotFoundException = AlreadyExistsException = KeyError

    def __init__(self) -> None:
        self.table: dict[str, Any] = {}
        self.loses_replies = True

    def get_database(self, **_: Any) -> Any:
        raise KeyError

    def create_table(self, DatabaseName: str, TableInput: dict[str, Any]) -> None:  # noqa: N803
        self.table = {**TableInput, "DatabaseName": DatabaseName, "VersionId": "1"}

    def get_table(self, **_: Any) -> dict[str, Any]:
        return {"Table": copy.deepcopy(self.table)}

    def update_table(self, DatabaseName: str, TableInput: dict[str, Any], VersionId: str, **_: Any) -> None:  # noqa: N803
        if self.loses_replies:
            self.table = {**TableInput, "DatabaseName": DatabaseName, "VersionId": f"{VersionId}1"}
        raise ConflictError


def test_a_commit_whose_reply_was_lost_succeeds_and_another_one_does_not(tmp_path: Path) -> None:
    glue = FakeGlue()
    catalog = ConfirmingGlueCatalog("lake", client=glue, warehouse=f"file://{tmp_path}")
    table = catalog.create_table(("db", "t"), SCHEMA, location=f"file://{tmp_path}/t")
    table.metadata.properties.update(NO_RETRIES)
    table.append(pa.table({"n": [1, 2]}))
    assert catalog.load_table(("db", "t")).scan().to_arrow()["n"].to_pylist() == [1, 2]
    glue.loses_replies = False
    table = catalog.load_table(("db", "t"))
    table.metadata.properties.update(NO_RETRIES)
    with pytest.raises(CommitFailedException, match="Glue detected concurrent update"):
        table.append(pa.table({"n": [3]}))
