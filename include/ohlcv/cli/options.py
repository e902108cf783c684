"""Options that several commands have."""

from __future__ import annotations

import click

from ohlcv.config.settings import Settings
from ohlcv.model.timeframes import TIMEFRAMES

# Of all known timeframes: the help is printed without reading the settings.
TIMEFRAME_NAMES = f"{', '.join(TIMEFRAMES)}, if it is enabled (OHLCV_TIMEFRAMES)"

ONE_TIMEFRAME = click.option(
    "--timeframe", "timeframe_name", required=True, metavar="T", help=f"One of {TIMEFRAME_NAMES}."
)
TIMEFRAME_OR_ALL = click.option(
    "--timeframe", "name", default="all", show_default=True, help=f"One of {TIMEFRAME_NAMES}, or all enabled ones: all."
)
SYMBOL = click.option("--symbol", metavar="S", help="Only this symbol.")
EXCHANGE = click.option("--exchange", metavar="E", help="Only this exchange.")
START = click.option(
    "--start", "start_text", metavar="TIME", help="First window start, an ISO time; UTC if it has no time zone."
)
END = click.option(
    "--end", "end_text", metavar="TIME", help="End of the range of window starts (exclusive), an ISO time."
)
TABLE_OR_JSON = click.option(
    "--format", "output_format", type=click.Choice(["table", "json"]), default="table", show_default=True
)
ROWS_FORMAT = click.option(
    "--format", "output_format", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True
)
# For commands whose --format is that of their files.
ROWS_OUTPUT = click.option(
    "--output", "output_format", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True
)


def chosen_timeframes(settings: Settings, name: str) -> list[str]:
    """Return the names of the timeframes that `--timeframe` means."""
    return list(settings.timeframes) if name == "all" else [settings.timeframe(name).name]
