"""Whether a location is in the warehouse."""

from __future__ import annotations

from pathlib import Path

import pytest

from ohlcv.config.locations import find_location_problem, is_inside


@pytest.mark.parametrize(
    ("location", "warehouse", "expected"),
    [
        ("file:///a/w/t", "file:///a/w", True),
        ("file:/a/w/t", "file:///a/w", True),
        ("file:///a/w", "file:///a/w/", True),
        ("file:///a/w#?%20/t", "file:///a/w#?%20", True),
        ("file:///a/w/../v/t", "file:///a/w", False),
        ("file:///a/w2/t", "file:///a/w", False),
        ("file:///b/w/t", "file:///a/w", False),
        ("s3://bucket/w/t", "s3://bucket/w", True),
        ("s3a://bucket/w/t", "s3://bucket/w/", True),
        ("s3://bucket/w2/t", "s3://bucket/w", False),
        ("s3://bucket/w/t", "file:///a/w", False),
        ("file:///bucket/w/t", "s3://bucket/w", False),
    ],
)
def test_locations_are_compared_by_folder(location: str, warehouse: str, expected: bool) -> None:
    assert is_inside(location, warehouse) is expected
    assert (find_location_problem("t", location, warehouse) is None) is expected


def test_symbolic_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert is_inside(f"file://{tmp_path}/a/w/t", f"file://{tmp_path}/link/w")
    assert is_inside(f"file://{tmp_path}/link/w/t", f"file://{tmp_path}/a/w")
