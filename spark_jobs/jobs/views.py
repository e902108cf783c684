"""Creation of the views over all timeframes."""

import sys

from ohlcv.config.settings import load_settings
from ohlcv.model.table_contracts import view_statements
from ohlcv.model.table_names import dotted, spark_name
from spark_jobs.runtime.session import open_session


def main() -> int:
    """Create each view that does not exist, and return the exit code."""
    settings = load_settings()
    spark = open_session(settings, "ohlcv views")
    for view, select in view_statements(settings.catalog.name, settings.names).items():
        spark.sql(f"CREATE VIEW IF NOT EXISTS {spark_name(settings.catalog.name, view)} AS {select}")
        print(f"view {dotted(view)}", file=sys.stderr)
    spark.stop()
    return 0
