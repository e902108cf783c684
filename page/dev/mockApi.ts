/** The answers of the candle service and of Airflow, with generated data. `?fail=401` in the page's URL is not needed: stop the server. */

import type { Candle } from "../src/api/types";
import { toIso, toSeconds } from "../src/shared/times.ts";
import { candleAt, firstWindow, measuresOf, NO_MEASURES, newestWindow, SERIES, STEPS } from "./generated.ts";
import { mockCoverage } from "./mockCoverage.ts";
import { mockQuality, mockStatus } from "./mockStatus.ts";

export interface Answer {
  status: number;
  type: string;
  body: string;
}

const API = "/ohlcv/api/v1/";
const MAX_LIMIT = 5000;
/** Timeframes whose candles have measures. */
const EXTENDED = ["30m", "1h"];

/** Return the answer to a request, or null if the path is not of an API. */
export function answer(method: string, url: URL, now = Math.floor(Date.now() / 1000)): Answer | null {
  if (url.pathname === "/ohlcv/incidents") {
    return json({
      incidents: [
        {
          key: "late ohlcv_5m",
          since: toIso(now - 4000),
          suppressed: false,
          error: "Task aggregate: no worker has a free core",
        },
      ],
    });
  }
  if (method === "POST" && url.pathname === "/api/v2/dags/ohlcv_reprocess/dagRuns") {
    return json({ dag_run_id: `manual__${toIso(now)}`, state: "queued" });
  }
  if (!url.pathname.startsWith(API)) return null;
  const query = url.searchParams;
  switch (url.pathname.slice(API.length)) {
    case "timeframes":
      return json({
        stale_seconds: null,
        timeframes: Object.entries(STEPS).map(([name, step]) => timeframe(name, step, now)),
      });
    case "series":
      return series(query, now);
    case "candles":
      return candles(query, now);
    case "candles/history":
      return history(query, now);
    case "coverage":
      return json(mockCoverage(query, now));
    case "status":
      return json(mockStatus(now));
    case "quality":
      return json(mockQuality(now));
    default:
      return problem(404, "There is no such path. See the API documentation.");
  }
}

function json(document: unknown): Answer {
  return { status: 200, type: "application/json", body: JSON.stringify(document) };
}

function problem(status: number, detail: string): Answer {
  const body = JSON.stringify({ type: "about:blank", title: "Error", status, detail });
  return { status, type: "application/problem+json", body };
}

function snapshot(step: number, now: number) {
  const newest = newestWindow(step, now);
  return { id: String(newest), committed_at: toIso(newest + step + 5) };
}

function timeframe(name: string, step: number, now: number) {
  return {
    name,
    seconds: step,
    table: `gold_ohlcv_${name}`,
    dag_id: `ohlcv_${name}`,
    cron: "*/5 * * * *",
    retention_days: 90,
    retention: "90 days",
    time_target_seconds: 20,
    measures: EXTENDED.includes(name),
    snapshot: snapshot(step, now),
    first_window: toIso(firstWindow(step, now)),
    newest_window: toIso(newestWindow(step, now)),
  };
}

function series(query: URLSearchParams, now: number): Answer {
  const name = query.get("timeframe") ?? "";
  const step = STEPS[name];
  if (!step) return problem(400, "timeframe: unknown. Use one of 1m, 5m, 30m, 1h, 1d.");
  const search = (query.get("search") ?? "").toLowerCase();
  const found = SERIES.filter((pair) => pair.some((text) => text.toLowerCase().includes(search)));
  return json({
    timeframe: name,
    snapshot: snapshot(step, now),
    stale_seconds: null,
    series: found.map(([symbol, exchange]) => ({
      symbol,
      exchange,
      first_window: toIso(firstWindow(step, now)),
      newest_window: toIso(newestWindow(step, now)),
    })),
  });
}

function candles(query: URLSearchParams, now: number): Answer {
  const name = query.get("timeframe") ?? "";
  const step = STEPS[name];
  if (!step) return problem(400, "timeframe: unknown. Use one of 1m, 5m, 30m, 1h, 1d.");
  const symbol = query.get("symbol") ?? "";
  const exchange = query.get("exchange") ?? "";
  const measures = query.get("measures") === "true";
  if (measures && !EXTENDED.includes(name)) {
    return problem(400, `gold_ohlcv_${name} has no measures: run 'ohlcv tables extend --timeframe ${name}'`);
  }
  const limit = Number(query.get("limit") ?? 1000);
  if (limit > MAX_LIMIT) return problem(400, `limit: at most ${MAX_LIMIT}.`);
  const newest = newestWindow(step, now);
  const count = Number(query.get("newest") ?? 0);
  const start = count ? newest - (count - 1) * step : toSeconds(query.get("start") ?? toIso(firstWindow(step, now)));
  const end = Math.min(newest + step, query.has("end") ? toSeconds(query.get("end") as string) : newest + step);
  const stored = windows(symbol, exchange, Math.max(start, firstWindow(step, now)), end, step, limit);
  const found = measures ? stored.map((candle) => ({ ...candle, ...measuresOf(candle) })) : stored;
  const computed = windows(symbol, exchange, newest + step, now, step, limit);
  const provisional = query.get("provisional") === "true" ? computed : null;
  const known = SERIES.some((pair) => pair[0] === symbol && pair[1] === exchange);
  if (!known && !provisional)
    return problem(404, `no series '${symbol}' on '${exchange}' in ${name}: see /api/v1/series`);
  if (query.get("format") === "csv") {
    const lines = found.map((candle) => Object.values(candle).join(","));
    return { status: 200, type: "text/csv", body: [Object.keys(found[0] ?? {}).join(","), ...lines, ""].join("\n") };
  }
  return json({
    timeframe: name,
    snapshot: snapshot(step, now),
    stale_seconds: null,
    candles: found,
    next_cursor: null,
    provisional: provisional && {
      trades_snapshot: { id: String(now), committed_at: toIso(now) },
      computed_at: toIso(now),
      candles: provisional.map((candle) => ({
        ...candle,
        ...{ created_at: null, updated_at: null },
        ...(measures && NO_MEASURES),
      })),
    },
  });
}

/** A candle that was published at once, and corrected five minutes later. */
function history(query: URLSearchParams, now: number): Answer {
  const name = query.get("timeframe") ?? "";
  const step = STEPS[name];
  if (!step) return problem(400, "timeframe: unknown. Use one of 1m, 5m, 30m, 1h, 1d.");
  const start = Math.floor(toSeconds(query.get("time") ?? toIso(now)) / step) * step;
  const candle = candleAt(query.get("symbol") ?? "", query.get("exchange") ?? "", start, step);
  const version = (publication: number, seconds: number, change: string, causes: string[]) => ({
    ...candle,
    publication,
    visible_at: toIso(start + step + seconds),
    change,
    causes,
    lateness: causes.length > 0 ? 12_500_000 : null,
    held_since: null,
    waived: false,
    trigger: "scheduled",
    dag_id: `ohlcv_${name}`,
    run_id: `scheduled__${toIso(start + step + seconds)}`,
  });
  const versions = [version(41, 20, "inserted", []), version(42, 320, "updated", ["trade added"])];
  const first = { ...versions[0], close_price: candle?.open_price, trade_count: 1 };
  return json({
    timeframe: name,
    window_start: toIso(start),
    known_until: null,
    versions: candle ? [first, versions[1]] : [],
  });
}

function windows(symbol: string, exchange: string, start: number, end: number, step: number, limit: number): Candle[] {
  const found: Candle[] = [];
  if (!SERIES.some((pair) => pair[0] === symbol && pair[1] === exchange)) return found;
  for (let time = Math.ceil(start / step) * step; time < end && found.length < limit; time += step) {
    const candle = candleAt(symbol, exchange, time, step);
    if (candle) found.push(candle);
  }
  return found;
}
