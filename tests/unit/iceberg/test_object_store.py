"""Making a bucket, as far as it needs no store: the rest is seen in the deployed stack (tests/deployment/compose)."""

from __future__ import annotations

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.object_store import create_warehouse_bucket
from ohlcv.model.errors import InputError


def test_a_folder_has_no_bucket() -> None:
    with pytest.raises(InputError, match="there is no bucket to make"):
        create_warehouse_bucket(load_settings({}))
