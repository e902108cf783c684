"""Creation of a bucket, without a store. tests/deployment/compose tests it with a store."""

from __future__ import annotations

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.object_store import create_warehouse_bucket
from ohlcv.model.errors import InputError


def test_a_warehouse_folder_has_no_bucket() -> None:
    with pytest.raises(InputError, match="there is no bucket to create"):
        create_warehouse_bucket(load_settings({}))
