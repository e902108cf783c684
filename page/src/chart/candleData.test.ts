import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { newestWindow } from "../../dev/generated";
import { answer } from "../../dev/mockApi";
import type { SeriesKey } from "./bounds";
import { CandleData } from "./candleData";

const NOW = 1_772_366_400 + 45 * 60;
const STEP = { name: "1h", seconds: 3600, measures: true };
const NEWEST = newestWindow(3600, NOW);
const KEYS = [
  { symbol: "BTC-USD", exchange: "kraken" },
  { symbol: "BTC-USD", exchange: "coinbase" },
];
let now = NOW;
const urls: string[] = [];

beforeEach(() => {
  now = NOW;
  urls.length = 0;
  vi.stubGlobal("document", { baseURI: "http://airflow.test/prefix/" });
  vi.stubGlobal("fetch", async (address: string) => {
    urls.push(address);
    const url = new URL(address.replace("/prefix/", "/"));
    const result = answer("GET", url, now);
    return new Response(result?.body, { status: result?.status });
  });
});
afterEach(() => vi.unstubAllGlobals());

async function open(keys = KEYS) {
  const onTable = vi.fn();
  const data = new CandleData(keys, { onTable, onCandles: vi.fn(), onError: vi.fn() });
  data.table(STEP.name);
  await vi.waitFor(() => expect(onTable).toHaveBeenCalled());
  return data;
}

async function load(data: CandleData, view: { from: number; to: number }) {
  const signal = new AbortController().signal;
  const requests = data.requests(view, STEP);
  for (const request of requests) await request.run(signal);
  return requests;
}

it("loads the candles of a view once, for each series, below the base address of Airflow", async () => {
  const data = await open();
  const view = { from: NEWEST - 10 * 3600, to: NEWEST + 3600 };
  expect(await load(data, view)).toHaveLength(2);
  expect(data.find(0, STEP, NEWEST)?.candle.exchange).toBe("kraken");
  expect(data.find(1, STEP, NEWEST)?.candle.exchange).toBe("coinbase");
  expect(data.requests(view, STEP)).toEqual([]);
  expect(urls.every((url) => url.startsWith("http://airflow.test/prefix/ohlcv/api/v1/"))).toBe(true);
});

it("asks for measures only where the table has them: it would refuse others", async () => {
  const data = await open();
  await load(data, { from: NEWEST - 10 * 3600, to: NEWEST + 3600 });
  await data.poll(STEP);
  expect(data.find(0, STEP, NEWEST)?.candle.quote_volume).toMatch(/^\d+\.\d{16}$/);
  expect(data.find(0, STEP, NEWEST + 3600)?.candle.quote_volume).toBeNull();
  urls.length = 0;
  const other = { name: "5m", seconds: 300, measures: false };
  data.table(other.name);
  await vi.waitFor(() => expect(data.bounds(other)).not.toBeNull());
  const [request] = data.requests({ from: NEWEST - 3600, to: NEWEST }, other);
  await request?.run(new AbortController().signal);
  expect(data.find(0, other, NEWEST - 300)?.candle).not.toHaveProperty("quote_volume");
  expect(urls.filter((url) => url.includes("measures"))).toEqual([]);
});

it("adds provisional candles after the newest stored one", async () => {
  const data = await open();
  expect(data.bounds(STEP)?.newest).toBe(NEWEST);
  expect(await data.poll(STEP)).toBe(true);
  expect(await data.poll(STEP)).toBe(false);
  const next = NEWEST + 3600;
  expect(data.bounds(STEP)?.newest).toBe(next);
  expect(data.find(0, STEP, next)).toMatchObject({ provisional: true });
  expect(data.find(0, STEP, next)?.candle.updated_at).toBeNull();
  expect(data.provisionalCount(STEP)).toBe(2);
});

it("reads all candles again after a new snapshot", async () => {
  const data = await open();
  const view = { from: NEWEST - 10 * 3600, to: NEWEST + 3600 };
  await load(data, view);
  now += 3600;
  await data.poll(STEP);
  expect(data.requests(view, STEP)).toHaveLength(2);
  expect(data.find(0, STEP, NEWEST)).toMatchObject({ provisional: false });
});

it("shows the other series if the timeframe does not have one of them", async () => {
  const data = await open([KEYS[0] as SeriesKey, { symbol: "BTC-USD", exchange: "none" }]);
  const view = { from: NEWEST - 10 * 3600, to: NEWEST + 3600 };
  expect(await load(data, view)).toHaveLength(2);
  expect(data.find(0, STEP, NEWEST)?.candle.exchange).toBe("kraken");
  expect(data.find(1, STEP, NEWEST)).toBeUndefined();
  expect(data.requests(view, STEP)).toEqual([]);
});
