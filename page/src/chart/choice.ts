import type { SeriesRange } from "../api/types";
import type { SeriesKey } from "./bounds";

/**
 * Return the series of the chart: the selected one, or else the one shown before a search, or else the first of
 * the list. The list may be the result of the search, which does not change what is shown.
 */
export function chosenSeries(
  selected: { symbol: string | null; exchange: string | null },
  ranges: SeriesRange[],
  shown: SeriesKey | null,
): SeriesKey | null {
  const symbol = selected.symbol ?? shown?.symbol ?? ranges[0]?.symbol;
  const known = shown?.symbol === symbol ? shown?.exchange : undefined;
  const exchange = selected.exchange ?? known ?? ranges.find((item) => item.symbol === symbol)?.exchange;
  return symbol && exchange ? { symbol, exchange } : null;
}
