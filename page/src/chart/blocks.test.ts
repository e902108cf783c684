import { expect, it } from "vitest";
import { candleAt } from "../../dev/generated";
import { BlockCache } from "./blocks";
import { BLOCK } from "./frame";

const LENGTH = BLOCK * 60;
const candle = candleAt("BTC-USD", "kraken", 60, 60);

function put(cache: BlockCache, block: number, candles = candle ? [candle] : []) {
  cache.put({ from: block * LENGTH, to: (block + 1) * LENGTH }, candles);
}

it("returns candles by their window, and knows blocks without candles", () => {
  const cache = new BlockCache(60);
  put(cache, 0);
  put(cache, 1, []);
  expect(cache.get(60)).toBe(candle);
  expect(cache.get(120)).toBeUndefined();
  expect([cache.has(0), cache.has(1), cache.has(2)]).toEqual([true, true, false]);
});

it("keeps outdated candles until their block is read again", () => {
  const cache = new BlockCache(60);
  put(cache, 0);
  cache.expire();
  expect(cache.has(0)).toBe(false);
  expect(cache.get(60)).toBe(candle);
  put(cache, 0, []);
  expect(cache.get(60)).toBeUndefined();
});

it("drops the least recently used blocks", () => {
  const cache = new BlockCache(60);
  for (let block = 0; block < 60; block += 1) put(cache, block, []);
  cache.touch({ from: 0, to: 60 });
  put(cache, 60, []);
  expect([cache.has(0), cache.has(1), cache.has(60)]).toEqual([true, false, true]);
});
