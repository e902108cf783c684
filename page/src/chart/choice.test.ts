import { expect, test } from "vitest";
import type { SeriesRange } from "../api/types";
import { chosenSeries } from "./choice";

const NONE = { symbol: null, exchange: null };
const RANGES = [
  { symbol: "BTC-USD", exchange: "binance" },
  { symbol: "ETH-USD", exchange: "kraken" },
] as SeriesRange[];

test("the first series is shown unless one is selected", () => {
  expect(chosenSeries(NONE, RANGES, null)).toEqual({ symbol: "BTC-USD", exchange: "binance" });
  expect(chosenSeries({ symbol: "ETH-USD", exchange: null }, RANGES, null)).toEqual({
    symbol: "ETH-USD",
    exchange: "kraken",
  });
  expect(chosenSeries({ symbol: "ETH-USD", exchange: "okx" }, RANGES, null)?.exchange).toBe("okx");
});

test("a search without a result keeps the series that is shown", () => {
  const shown = { symbol: "ETH-USD", exchange: "kraken" };
  expect(chosenSeries(NONE, [], shown)).toEqual(shown);
  expect(chosenSeries({ symbol: "ETH-USD", exchange: null }, [], shown)).toEqual(shown);
});

test("a symbol without a series has no exchange", () => {
  expect(chosenSeries({ symbol: "NONE", exchange: null }, RANGES, { symbol: "BTC-USD", exchange: "binance" })).toBe(
    null,
  );
  expect(chosenSeries(NONE, [], null)).toBe(null);
});
