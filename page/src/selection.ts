/** The selection of the page in the query string, so that links and the back button restore it. */

import { toIso, toSeconds, type Zone } from "./shared/times";

export const TABS = ["chart", "pipeline", "quality", "coverage"] as const;
export type Tab = (typeof TABS)[number];

/** Presets of the range: name in the URL, and seconds. */
export const RANGES: [string, number | "all"][] = [
  ["6h", 6 * 3600],
  ["1d", 86_400],
  ["1w", 7 * 86_400],
  ["1m", 30 * 86_400],
  ["3m", 91 * 86_400],
  ["1y", 365 * 86_400],
  ["all", "all"],
];

/** Ranges of the coverage: name in the URL, and hours. */
export const SPANS: [string, number][] = [
  ["24h", 24],
  ["7d", 168],
  ["31d", 744],
];

/** A series in an hour. */
export interface Cell {
  exchange: string;
  symbol: string;
  hour: number;
}

export interface Selection {
  tab: Tab;
  symbol: string | null;
  exchange: string | null;
  /** Second exchange, beside the first. */
  compare: string | null;
  timeframe: string | null;
  /** Name of a preset: a span up to the newest window. */
  range: string | null;
  start: number | null;
  end: number | null;
  /** Window of the crosshair. */
  at: number | null;
  log: boolean;
  zone: Zone;
  /** Name of the range of the coverage. */
  span: string;
  /** End of that range. Null: the newest counted hour. */
  until: number | null;
  /** Exchange whose coverage is shown. */
  coverageExchange: string | null;
  /** Part of the names of the series whose coverage is shown. */
  search: string | null;
  /** Show only series with problems. */
  problems: boolean;
  /** Page of the series. */
  cursor: string | null;
  cell: Cell | null;
}

export const DEFAULTS: Selection = {
  tab: "chart",
  symbol: null,
  exchange: null,
  compare: null,
  timeframe: null,
  range: null,
  start: null,
  end: null,
  at: null,
  log: false,
  zone: "utc",
  span: "24h",
  until: null,
  coverageExchange: null,
  search: null,
  problems: false,
  cursor: null,
  cell: null,
};

function time(text: string | null): number | null {
  const seconds = text ? toSeconds(text) : Number.NaN;
  return Number.isNaN(seconds) ? null : seconds;
}

function cell(query: URLSearchParams): Cell | null {
  const hour = time(query.get("cell"));
  if (hour === null) return null;
  // Rejected trades may have no series.
  return { exchange: query.get("cell_exchange") ?? "", symbol: query.get("cell_symbol") ?? "", hour };
}

export function parseSelection(query: URLSearchParams): Selection {
  const tab = query.get("tab") as Tab;
  const range = query.get("range");
  const span = query.get("span");
  const start = time(query.get("start"));
  const end = time(query.get("end"));
  const fixed = start !== null && end !== null && start < end;
  return {
    tab: TABS.includes(tab) ? tab : DEFAULTS.tab,
    symbol: query.get("symbol"),
    exchange: query.get("exchange"),
    compare: query.get("compare"),
    timeframe: query.get("timeframe"),
    range: RANGES.some(([name]) => name === range) ? range : null,
    start: fixed ? start : null,
    end: fixed ? end : null,
    at: fixed ? time(query.get("at")) : null,
    log: query.get("scale") === "log",
    zone: query.get("zone") === "local" ? "local" : "utc",
    span: SPANS.find(([name]) => name === span)?.[0] ?? DEFAULTS.span,
    until: time(query.get("until")),
    coverageExchange: query.get("coverage_exchange"),
    search: query.get("search"),
    problems: query.get("problems") === "only",
    cursor: query.get("cursor"),
    cell: cell(query),
  };
}

/** Return the query with the selection. Parameters of others stay, defaults are left out. */
export function withSelection(query: URLSearchParams, selection: Selection): URLSearchParams {
  const result = new URLSearchParams(query);
  const values: Record<string, string | null> = {
    tab: selection.tab === DEFAULTS.tab ? null : selection.tab,
    symbol: selection.symbol,
    exchange: selection.exchange,
    compare: selection.compare,
    timeframe: selection.timeframe,
    range: selection.range,
    start: selection.start === null ? null : toIso(selection.start),
    end: selection.end === null ? null : toIso(selection.end),
    at: selection.at === null ? null : toIso(selection.at),
    scale: selection.log ? "log" : null,
    zone: selection.zone === "local" ? "local" : null,
    span: selection.span === DEFAULTS.span ? null : selection.span,
    until: selection.until === null ? null : toIso(selection.until),
    coverage_exchange: selection.coverageExchange,
    search: selection.search,
    problems: selection.problems ? "only" : null,
    cursor: selection.cursor,
    cell: selection.cell && toIso(selection.cell.hour),
    cell_exchange: selection.cell?.exchange ?? null,
    cell_symbol: selection.cell?.symbol ?? null,
  };
  for (const [name, value] of Object.entries(values)) {
    if (value) result.set(name, value);
    else result.delete(name);
  }
  return result;
}
