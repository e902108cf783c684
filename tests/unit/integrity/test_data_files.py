"""Content of data files: values of every size are compared exactly with the statistics of the file."""

from __future__ import annotations

from decimal import Context, Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from ohlcv.integrity.data_files import check_content


@pytest.mark.parametrize(("precision", "scale"), [(18, 8), (28, 8), (38, 8), (38, 16), (38, 18)])
def test_decimals_of_all_digits_are_within_the_bounds_of_their_file(tmp_path: Path, precision: int, scale: int) -> None:
    catalog = SqlCatalog("c", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    catalog.create_namespace("n")
    # Rounded, the amounts would be nearer to zero.
    digits = "1" * 37
    numbers = [
        Decimal(int(sign + digits[:count] + last)).scaleb(-scale, Context(prec=76))
        for sign in ("", "-")
        for count in (1, precision - 1)
        for last in "13"
    ]
    rows = pa.table({"amount": pa.array(numbers, pa.decimal128(precision, scale))})
    table = catalog.create_table("n.t", rows.schema)
    table.append(rows)
    (task,) = table.scan().plan_files()
    assert check_content(table.io, table.schema(), table.spec(), task.file).rows == len(numbers)
    catalog.close()
