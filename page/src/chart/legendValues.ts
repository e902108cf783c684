import type { Candle } from "../api/types";
import { formatCount, formatDecimal, formatPercent } from "../shared/numbers";
import { formatIso, type Zone } from "../shared/times";

/** A name, its value, and the exact text where the shown one is shorter. */
export type LegendValue = [string, string, string?];

/** Return what the legend shows of a candle. */
export function legendValues(candle: Candle, zone: Zone): LegendValue[] {
  return [
    ["Open", formatDecimal(candle.open_price, 2)],
    ["High", formatDecimal(candle.high_price, 2)],
    ["Low", formatDecimal(candle.low_price, 2)],
    ["Close", formatDecimal(candle.close_price, 2)],
    ["Volume", formatDecimal(candle.volume)],
    ["Trades", formatCount(candle.trade_count)],
    ["VWAP", formatDecimal(candle.vwap, 2)],
    ...measures(candle, zone),
    ["Created", formatIso(candle.created_at, zone), candle.created_at ?? undefined],
    ["Updated", formatIso(candle.updated_at, zone), candle.updated_at ?? undefined],
  ];
}

/** Return the measures of a candle of an extended table. */
function measures(candle: Candle, zone: Zone): LegendValue[] {
  if (candle.quote_volume === undefined) return [];
  const bought = candle.taker_buy_volume ?? null;
  return [
    ["Quote volume", formatDecimal(candle.quote_volume, 2)],
    [
      "Taker buy",
      bought === null ? "–" : formatPercent(Number(bought), Number(candle.volume)),
      bought === null ? undefined : `${formatDecimal(bought)} of ${formatDecimal(candle.volume)}`,
    ],
    ["First trade", formatIso(candle.first_trade_at, zone), candle.first_trade_at ?? undefined],
    ["Last trade", formatIso(candle.last_trade_at, zone), candle.last_trade_at ?? undefined],
  ];
}
