/** Generated coverage: an outage of one exchange with a note, gaps, a silent series, rejected trades. */

import type { CoverageAnswer, CoverageNote, CoverageSeries } from "../src/api/types";
import { toIso, toSeconds } from "../src/shared/times.ts";
import { noise, seedOf } from "./generated.ts";

const HOUR = 3600;
const COINS = ["ADA", "AVAX", "BCH", "BTC", "DOGE", "DOT", "ETH", "LINK", "LTC", "SOL", "UNI", "XRP"];
const SERIES = ["binance", "bitstamp", "coinbase", "kraken", "okx"].flatMap((exchange) =>
  ["USD", "EUR", "GBP", "USDT"].flatMap((quote) => COINS.map((coin) => ({ exchange, symbol: `${coin}-${quote}` }))),
);

/** Return the answer to a request. kraken has no source sequences, okx has an outage. */
export function mockCoverage(query: URLSearchParams, now: number): CoverageAnswer {
  const counted = Math.floor(now / HOUR) * HOUR - HOUR;
  const end = query.has("end") ? toSeconds(query.get("end") as string) : counted;
  const start = query.has("start") ? toSeconds(query.get("start") as string) : end - 24 * HOUR;
  const hours: number[] = [];
  for (let hour = start; hour < end; hour += HOUR) hours.push(hour);
  const wanted = (query.get("search") ?? "").toLowerCase();
  const exchange = query.get("exchange");
  const found = [{ exchange: "", symbol: "" }, ...SERIES].filter(
    (each) =>
      (exchange === null || each.exchange === exchange) &&
      `${each.symbol} ${each.exchange}`.toLowerCase().includes(wanted),
  );
  const limit = Number(query.get("limit") ?? 200);
  const first = Number(query.get("cursor") ?? 0);
  const series = found.slice(first, first + limit);
  const outage = counted - 9 * HOUR;
  const notes: CoverageNote[] = [
    {
      note: "3f2a91c0",
      kind: "outage",
      exchange: "okx",
      symbol: null,
      start_time: toIso(outage),
      end_time: toIso(outage + 5 * HOUR),
      author: "Ada",
      reason: "Maintenance, announced by the exchange",
    },
  ];
  return {
    start: toIso(start),
    end: toIso(end),
    counted_until: toIso(counted),
    pending_hours: 0,
    hours: hours.map(toIso),
    series: series.map((each) => row(each, hours, counted, outage)),
    notes,
    next_cursor: first + limit < found.length ? String(first + limit) : null,
  };
}

function row(series: { exchange: string; symbol: string }, hours: number[], counted: number, outage: number) {
  const result: CoverageSeries = {
    ...series,
    states: [],
    trades: [],
    missing: [],
    rejected: [],
    duplicates: [],
    details: [],
    notes: [],
  };
  const seed = seedOf(series.symbol, series.exchange);
  for (const hour of hours) {
    const isOut = series.exchange === "okx" && hour >= outage && hour < outage + 5 * HOUR;
    const state = stateOf(series, hour, counted, isOut, noise(seed, hour / HOUR));
    const traded = state !== null && state !== "no data" && state !== "silent";
    result.states.push(state);
    result.trades.push(state === null ? null : traded ? Math.floor(noise(seed, hour) * 40_000) + 1 : 0);
    result.missing.push(state === "no gap" ? 0 : state === "sequence gaps" ? 17 : null);
    result.rejected.push(state === null ? null : noise(seed + 1, hour) < 0.05 ? 3 : 0);
    result.duplicates.push(traded ? 2 : state === null ? null : 0);
    result.details.push(state === "sequence gaps" ? "missing: 17 numbers between 10:02 and 10:05" : null);
    result.notes.push(isOut ? ["3f2a91c0"] : null);
  }
  return result;
}

function stateOf(
  series: { exchange: string; symbol: string },
  hour: number,
  counted: number,
  isOut: boolean,
  chance: number,
): string | null {
  if (hour >= counted) return null;
  if (series.exchange === "") return chance < 0.1 ? "unknown" : null;
  if (isOut) return "no data";
  if (hour < counted - 25 * 24 * HOUR) return "source expired";
  if (series.symbol === "UNI-GBP" && hour < counted - 30 * HOUR) return null;
  if (series.symbol.endsWith("GBP") && chance < 0.04) return "silent";
  if (series.exchange === "kraken") return "unknown";
  return chance > 0.994 ? "sequence gaps" : "no gap";
}
