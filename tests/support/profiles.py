"""Properties of the profiles of Spark jobs."""

from __future__ import annotations

from ohlcv.spark.spark_submit import Profile, profile_path


def profile_properties(profile: Profile) -> dict[str, str]:
    """Return the properties in the file of a profile."""
    lines = (line for line in profile_path(profile).read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split(None, 1) for line in lines)
