// A TradingView UDF adapter from npm, as a charting library uses it. Prints what it received as JSON.
// Usage: node client.mjs ADDRESS EXCHANGE:SYMBOL RESOLUTION BARS_PER_PAGE, with the token in the environment (TOKEN).
import adapter from "@orderly.network/trading-view";

const [address, ticker, resolution, pageSize] = process.argv.slice(2);
const DAY = 86_400;

// The adapter has no setting for a token.
const send = globalThis.fetch;
globalThis.fetch = (url, options) =>
  send(url, { ...options, headers: { ...options?.headers, Authorization: `Bearer ${process.env.TOKEN}` } });

// The exported class adds a WebSocket of that vendor to the UDF adapter, which is its base class.
const UdfDatafeed = Object.getPrototypeOf(adapter.Datafeed);
const datafeed = new UdfDatafeed(`${address}/udf`);
const configuration = await new Promise((resolve) => datafeed.onReady(resolve));
const symbol = await datafeed._send("symbols", { symbol: ticker });
const unknown = await datafeed._send("symbols", { symbol: "nowhere:NOTHING" });
const search = { limit: 30, query: symbol.name.slice(0, 3).toLowerCase(), type: "", exchange: "" };
const found = await datafeed._send("search", search);
const time = await datafeed._send("time");

/** Return the bars and the metadata of a request. */
const getBars = (period) =>
  new Promise((resolve, reject) =>
    datafeed.getBars(symbol, resolution, period, (bars, meta) => resolve({ bars, meta }), reject),
  );

/** Read to the oldest bar as the charting library does: so many bars before the oldest known one. */
async function readByCount() {
  const pages = [];
  let to = time;
  for (;;) {
    const { bars, meta } = await getBars({ from: to - DAY, to, countBack: Number(pageSize), firstDataRequest: to === time });
    if (meta.noData) return { pages, meta };
    pages.push(bars);
    to = bars[0].time / 1000;
  }
}

/** Read day by day. Over a gap, continue at the time that the server names. */
async function readByDay() {
  const bars = [];
  const jumps = [];
  let to = Math.ceil(time / DAY) * DAY;
  for (;;) {
    const answer = await getBars({ from: to - DAY, to, firstDataRequest: false });
    bars.unshift(...answer.bars);
    if (!answer.meta.noData) to -= DAY;
    else if (answer.meta.nextTime === undefined) return { bars, jumps };
    else {
      jumps.push(answer.meta.nextTime);
      to = (Math.floor(answer.meta.nextTime / DAY) + 1) * DAY;
    }
  }
}

const refused = await getBars({ from: 2, to: 1, firstDataRequest: false }).catch((reason) => reason);
const result = { configuration, symbol, unknown, found, time, refused };
console.log(JSON.stringify({ ...result, byCount: await readByCount(), byDay: await readByDay() }));
