"""Creation of the views over all timeframes."""

import sys

from ohlcv.config.catalog_properties import CATALOG_NAME
from ohlcv.config.settings import load_settings
from ohlcv.model.table_contracts import NAMESPACE, view_statements
from spark_jobs.runtime.session import open_session


def main() -> int:
    """Create each view that does not exist, and return the exit code."""
    spark = open_session(load_settings(), "ohlcv views")
    for name, select in view_statements(CATALOG_NAME).items():
        spark.sql(f"CREATE VIEW IF NOT EXISTS {CATALOG_NAME}.{NAMESPACE}.{name} AS {select}")
        print(f"view {NAMESPACE}.{name}", file=sys.stderr)
    spark.stop()
    return 0
