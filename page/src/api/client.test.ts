import { afterEach, expect, it, vi } from "vitest";
import { answer } from "../../dev/mockApi";
import { ApiError, apiUrl, hostUrl, problemText, readAllCandles, requestJson, triggerRebuild } from "./client";

afterEach(() => vi.unstubAllGlobals());

it("finds the API below the path of Airflow", () => {
  const base = "https://example.test/airflow/";
  expect(apiUrl("series", { timeframe: "1h", search: "a&b", limit: undefined }, base)).toBe(
    "https://example.test/airflow/ohlcv/api/v1/series?timeframe=1h&search=a%26b",
  );
  expect(hostUrl("/api/v2/dags", base)).toBe("https://example.test/airflow/api/v2/dags");
});

it.each([
  [400, '{"title":"Bad Request","detail":"start: give a zone."}', "start: give a zone."],
  [422, '{"detail":[{"msg":"Field required"},{"msg":"Extra"}]}', "Field required; Extra"],
  [502, "<html>", "The server answered with status 502."],
])("reads the reason of status %d", (status, body, text) => {
  expect(problemText(status, body)).toBe(text);
});

it("throws the status and the reason", async () => {
  vi.stubGlobal("fetch", async () => new Response('{"detail":"No."}', { status: 403 }));
  await expect(requestJson("/x")).rejects.toEqual(new ApiError(403, "No."));
  vi.stubGlobal("fetch", () => Promise.reject(new TypeError("failed")));
  await expect(requestJson("/x")).rejects.toMatchObject({ status: 0 });
});

it("collects the pages of an export", async () => {
  vi.stubGlobal("document", { baseURI: "http://airflow.test/" });
  const cursors: (string | null)[] = [];
  vi.stubGlobal("fetch", async (address: string) => {
    const cursor = new URL(address).searchParams.get("cursor");
    cursors.push(cursor);
    return Response.json({ candles: [{ window_start: cursor }], next_cursor: cursor ? null : "second" });
  });
  expect(await readAllCandles({ timeframe: "1h" })).toHaveLength(2);
  expect(cursors).toEqual([null, "second"]);
});

it("triggers a rebuild without a logical date", async () => {
  vi.stubGlobal("document", { baseURI: "http://airflow.test/" });
  let sent: unknown;
  vi.stubGlobal("fetch", async (address: string, init: RequestInit) => {
    sent = JSON.parse(init.body as string);
    return new Response(answer("POST", new URL(address), 1_772_366_400)?.body);
  });
  const conf = { start: "2026-03-01T00:00:00Z", end: "2026-03-02T00:00:00Z", timeframes: ["1h"], dry_run: true };
  expect(await triggerRebuild(conf)).toBe("manual__2026-03-01T12:00:00Z");
  expect(sent).toEqual({ logical_date: null, conf });
});
