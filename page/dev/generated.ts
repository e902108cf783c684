/** Generated candles: the same for the same series and window. */

import type { Candle } from "../src/api/types";
import { toIso, toSeconds } from "../src/shared/times.ts";

export const STEPS: Record<string, number> = { "1m": 60, "5m": 300, "30m": 1800, "1h": 3600, "1d": 86_400 };
export const SERIES: [string, string][] = [
  ["BTC-USD", "binance"],
  ["BTC-USD", "coinbase"],
  ["BTC-USD", "kraken"],
  ["ETH-USD", "coinbase"],
  ["SOL-USD", "coinbase"],
];
/** Days of candles before now. */
const DAYS = 380;

/** Return a number in [0, 1) that depends only on the arguments. */
export function noise(seed: number, index: number): number {
  let value = Math.imul(seed ^ (index + 0x9e3779b9), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return ((value ^ (value >>> 16)) >>> 0) / 2 ** 32;
}

export function seedOf(symbol: string, exchange: string): number {
  return [...`${symbol} ${exchange}`].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7) | 0;
}

/** Return the price in units of 0.01: slow waves, the same on all exchanges, and a little noise. */
function price(symbol: string, exchange: string, time: number): number {
  const base = symbol.startsWith("BTC") ? 6_000_000 : symbol.startsWith("ETH") ? 300_000 : 15_000;
  const waves = 0.18 * Math.sin(time / 3e6) + 0.04 * Math.sin(time / 2e5) + 0.01 * Math.sin(time / 9000);
  const shape =
    noise(seedOf(symbol, ""), Math.floor(time / 60)) + noise(seedOf(symbol, exchange), Math.floor(time / 15));
  return Math.round(base * (1 + waves + 0.0012 * shape));
}

function decimal(units: number, decimals: number): string {
  const text = String(Math.round(units)).padStart(decimals + 1, "0");
  return `${text.slice(0, -decimals)}.${text.slice(-decimals)}`;
}

export function newestWindow(step: number, now: number): number {
  // The last complete window is stored when the next one is half over.
  return Math.floor((now - step / 2) / step) * step - step;
}

export function firstWindow(step: number, now: number): number {
  return Math.floor((now - DAYS * 86_400) / step) * step;
}

/** Return a candle, or null in a gap: ETH and SOL have some. */
export function candleAt(symbol: string, exchange: string, start: number, step: number): Candle | null {
  if (!symbol.startsWith("BTC") && step < 86_400 && noise(seedOf(symbol, exchange), Math.floor(start / 7200)) < 0.12) {
    return null;
  }
  const prices = Array.from({ length: 12 }, (_, index) => price(symbol, exchange, start + (step * index) / 12));
  const count = 1 + Math.floor(noise(seedOf(symbol, exchange), start / 60) * step * 2);
  const updated = toIso(start + step + Math.min(step, 300));
  return {
    symbol,
    exchange,
    window_start: toIso(start),
    window_end: toIso(start + step),
    open_price: decimal(prices[0] as number, 2),
    high_price: decimal(Math.max(...prices), 2),
    low_price: decimal(Math.min(...prices), 2),
    close_price: decimal(prices.at(-1) as number, 2),
    volume: decimal(count * 123_457 * (1 + noise(3, start)), 8),
    trade_count: count,
    vwap: decimal(100 * (prices.reduce((sum, value) => sum + value, 0) / prices.length), 4),
    created_at: updated,
    updated_at: updated,
  };
}

/** Measures of a candle that has not been rebuilt since its table was extended, and of a provisional one. */
export const NO_MEASURES = {
  quote_volume: null,
  taker_buy_volume: null,
  taker_buy_quote_volume: null,
  first_trade_at: null,
  last_trade_at: null,
};

/** Return the measures of a candle. */
export function measuresOf(candle: Candle) {
  const start = toSeconds(candle.window_start);
  const quote = Number(candle.volume) * Number(candle.vwap);
  const share = 0.35 + 0.3 * noise(5, start);
  return {
    quote_volume: quote.toFixed(16),
    taker_buy_volume: (Number(candle.volume) * share).toFixed(8),
    taker_buy_quote_volume: (quote * share).toFixed(16),
    first_trade_at: `${candle.window_start.slice(0, 19)}.250001Z`,
    last_trade_at: toIso(toSeconds(candle.window_end) - 1),
  };
}
