import { expect, it } from "vitest";
import type { Candle } from "../api/types";
import { legendValues } from "./legendValues";

const CANDLE: Candle = {
  symbol: "BTC-USD",
  exchange: "coinbase",
  window_start: "2026-03-01T12:00:00Z",
  window_end: "2026-03-01T13:00:00Z",
  open_price: "10.00000000",
  high_price: "12.00000000",
  low_price: "9.00000000",
  close_price: "11.00000000",
  volume: "7.50000000",
  trade_count: 3,
  vwap: null,
  created_at: null,
  updated_at: null,
};
const MEASURES = {
  quote_volume: "1082.5000000000000001",
  taker_buy_volume: "4.50000000",
  taker_buy_quote_volume: "18.0000000000000000",
  first_trade_at: "2026-03-01T12:00:07.000007Z",
  last_trade_at: "2026-03-01T12:59:59.999999Z",
};

function shown(candle: Candle) {
  return Object.fromEntries(legendValues(candle, "utc").map(([name, ...texts]) => [name, texts]));
}

it("shows no measures of a table that is not extended", () => {
  expect(legendValues(CANDLE, "utc").map(([name]) => name)).toEqual([
    ...["Open", "High", "Low", "Close", "Volume", "Trades", "VWAP", "Created", "Updated"],
  ]);
});

it("shows measures between the VWAP and the times of writing, the share of takers that bought with its volumes", () => {
  const values = legendValues({ ...CANDLE, ...MEASURES }, "utc");
  expect(values.slice(6, 12)).toEqual([
    ["VWAP", "–"],
    ["Quote volume", "1,082.5000000000000001"],
    ["Taker buy", "60 %", "4.5 of 7.5"],
    ["First trade", "2026-03-01 12:00:07 UTC", "2026-03-01T12:00:07.000007Z"],
    ["Last trade", "2026-03-01 12:59:59 UTC", "2026-03-01T12:59:59.999999Z"],
    ["Created", "–", undefined],
  ]);
});

it("tells a share that is not known from none and from all", () => {
  const share = (bought: string | null) =>
    shown({ ...CANDLE, ...MEASURES, taker_buy_volume: bought })["Taker buy"]?.[0];
  expect([null, "0.00000000", "7.50000000", "7.49999999"].map(share)).toEqual(["–", "0 %", "100 %", "99.9 %"]);
  const unknown = Object.fromEntries(Object.keys(MEASURES).map((name) => [name, null]));
  const values = shown({ ...CANDLE, ...unknown });
  const names = ["Quote volume", "Taker buy", "First trade", "Last trade"];
  expect(names.map((name) => values[name]?.[0])).toEqual(["–", "–", "–", "–"]);
});
