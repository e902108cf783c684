import { afterEach, expect, it, vi } from "vitest";
import { DEFAULTS } from "../selection";
import { toSeconds } from "../shared/times";
import { readSpan } from "./readSpan";

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

const { signal } = new AbortController();
const COUNTED = "2026-03-02T10:00:00Z";

/** Answer requests as the service does, and return the list of their parameters. */
function serve(counted: string | null): URLSearchParams[] {
  const requests: URLSearchParams[] = [];
  vi.stubGlobal("document", { baseURI: "http://airflow.test/" });
  vi.stubGlobal("fetch", async (address: string) => {
    const query = new URL(address).searchParams;
    requests.push(query);
    return Response.json({ start: query.get("start"), end: query.get("end"), counted_until: counted });
  });
  return requests;
}

it("ends with the newest counted hour", async () => {
  vi.useFakeTimers({ now: toSeconds("2026-03-02T12:30:00Z") * 1000 });
  const requests = serve(COUNTED);
  const answer = await readSpan(DEFAULTS, null, signal);
  expect([answer.start, answer.end]).toEqual(["2026-03-01T10:00:00Z", COUNTED]);
  expect(requests.map((query) => query.get("end"))).toEqual(["2026-03-02T12:00:00Z", COUNTED]);
});

it("needs one request if that hour is known", async () => {
  const requests = serve(COUNTED);
  expect((await readSpan({ ...DEFAULTS, span: "7d" }, COUNTED, signal)).start).toBe("2026-02-23T10:00:00Z");
  expect(requests).toHaveLength(1);
});

it("follows a new recording", async () => {
  serve("2026-03-02T11:00:00Z");
  expect((await readSpan(DEFAULTS, COUNTED, signal)).end).toBe("2026-03-02T11:00:00Z");
});

it("stops if nothing was ever counted", async () => {
  const requests = serve(null);
  expect((await readSpan(DEFAULTS, null, signal)).counted_until).toBeNull();
  expect(requests).toHaveLength(1);
});

it("asks for the selected range, filters and page", async () => {
  const requests = serve(COUNTED);
  const until = toSeconds("2026-02-01T00:00:00Z");
  const selection = { ...DEFAULTS, until, coverageExchange: "kraken", search: "btc", cursor: "next" };
  await readSpan(selection, COUNTED, signal);
  expect(requests.map((query) => Object.fromEntries(query))).toEqual([
    {
      start: "2026-01-31T00:00:00Z",
      end: "2026-02-01T00:00:00Z",
      exchange: "kraken",
      search: "btc",
      limit: "200",
      cursor: "next",
    },
  ]);
});
