"""Names of the tables. The settings choose them; names that are not set are those of earlier versions."""

from __future__ import annotations

from dataclasses import dataclass

# Levels of the namespace, then the name of the table.
Identifier = tuple[str, ...]

DEFAULT_NAMESPACE: Identifier = ("market_data",)
DEFAULT_TRADES = "gold_crypto_trades"
DEFAULT_CANDLES = "gold_ohlcv_{timeframe}"
# Metadata files of states that a restoration has given up begin with this, so that they are not registered.
GIVEN_UP_PREFIX = "damaged-"
# In the name of the candle tables, replaced by the name of the timeframe.
TIMEFRAME = "{timeframe}"


def dotted(identifier: Identifier) -> str:
    """Return an identifier for messages. No level contains a dot, so different identifiers have different texts."""
    return ".".join(identifier)


def spark_name(catalog: str, identifier: Identifier) -> str:
    """Return the full name of a table, view or namespace in Spark SQL, quoted."""
    return ".".join(f"`{level}`" for level in (catalog, *identifier))


@dataclass(frozen=True)
class TableNames:
    """Identifiers of the trades table and, with a placeholder for the timeframe, of the candle tables."""

    trades: Identifier = (*DEFAULT_NAMESPACE, DEFAULT_TRADES)
    candles: Identifier = (*DEFAULT_NAMESPACE, DEFAULT_CANDLES)

    def candle_table(self, timeframe: str) -> Identifier:
        """Return the identifier of the candle table of a timeframe."""
        return (*self.candles[:-1], self.candles[-1].replace(TIMEFRAME, timeframe))

    @property
    def publications(self) -> Identifier:
        """Return the identifier of the ledger's table of publications."""
        return self.candle_table("publications")

    @property
    def revisions(self) -> Identifier:
        """Return the identifier of the ledger's table of revisions."""
        return self.candle_table("revisions")

    @property
    def coverage(self) -> Identifier:
        """Return the identifier of the table of the coverage of the trades."""
        return self.candle_table("coverage")

    @property
    def coverage_notes(self) -> Identifier:
        """Return the identifier of the table of notes on the coverage."""
        return self.candle_table("coverage_notes")

    @property
    def reconciliation(self) -> Identifier:
        """Return the identifier of the table of comparisons with published candles."""
        return self.candle_table("reconciliation")

    @property
    def candles_view(self) -> Identifier:
        """Return the identifier of the view of all candles."""
        return self._view("ohlcv", "all")

    @property
    def latest_view(self) -> Identifier:
        """Return the identifier of the view of the newest candle of each series."""
        return self._view("ohlcv_latest", "latest")

    @property
    def views(self) -> tuple[Identifier, Identifier]:
        return self.candles_view, self.latest_view

    @property
    def namespaces(self) -> set[Identifier]:
        """Return the namespaces of the tables."""
        return {self.trades[:-1], self.candles[:-1]}

    def _view(self, default: str, word: str) -> Identifier:
        # Two sets of candle tables in one namespace need different views, so other names derive from the tables.
        if self.candles[-1] == DEFAULT_CANDLES:
            return (*self.candles[:-1], default)
        return self.candle_table(word)
