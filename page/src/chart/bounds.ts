import { readSeries } from "../api/client";
import type { SeriesAnswer, Snapshot } from "../api/types";
import { toSeconds } from "../shared/times";
import type { Bounds } from "./frame";

export interface SeriesKey {
  symbol: string;
  exchange: string;
}

export interface TableState {
  /** Null if the table has no candle of the series. */
  bounds: Bounds | null;
  snapshot: Snapshot | null;
  staleSeconds: number | null;
}

/** Return the time bounds of these series together. */
export function boundsOf(answer: SeriesAnswer, keys: SeriesKey[]): Bounds | null {
  const found = answer.series.filter((range) =>
    keys.some((key) => key.symbol === range.symbol && key.exchange === range.exchange),
  );
  if (found.length === 0) return null;
  return {
    first: Math.min(...found.map((range) => toSeconds(range.first_window))),
    newest: Math.max(...found.map((range) => toSeconds(range.newest_window))),
  };
}

export async function readTableState(timeframe: string, keys: SeriesKey[], signal: AbortSignal): Promise<TableState> {
  const answer = await readSeries(timeframe, keys[0]?.symbol, signal);
  return { bounds: boundsOf(answer, keys), snapshot: answer.snapshot, staleSeconds: answer.stale_seconds };
}
