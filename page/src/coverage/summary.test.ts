import { expect, it } from "vitest";
import { mockCoverage } from "../../dev/mockCoverage";
import type { CoverageSeries } from "../api/types";
import { toSeconds } from "../shared/times";
import { STATES } from "./states";
import { describeHour, hasProblem, nameOf, notesOf, reasonOfNone, summaryOf } from "./summary";

function series(symbol: string, states: (string | null)[], missing: (number | null)[] = []): CoverageSeries {
  const none = states.map(() => null);
  return {
    exchange: "kraken",
    symbol,
    states,
    missing,
    trades: none,
    rejected: none,
    duplicates: none,
    details: none,
    notes: none,
  };
}

it("sums states and missing numbers", () => {
  const shown = [
    series("BTC-USD", ["no gap", "sequence gaps", "no data"], [0, 17, null]),
    series("ETH-USD", ["silent", "sequence gaps", "no data"], [null, 1200, null]),
  ];
  expect(summaryOf(shown)).toBe(
    "2 series, 2 hours with gaps, 1,217 missing numbers, 2 hours without data, 1 silent hour",
  );
});

it.each([
  ["no gap", false],
  ["sequence gaps", true],
  ["silent", true],
  ["no data", true],
  ["source expired", false],
  ["unknown", false],
])("knows whether %s is a problem", (state, expected) => {
  expect(hasProblem(series("BTC-USD", ["no gap", state, null]))).toBe(expected);
});

it("draws no two states alike", () => {
  const shapes = Object.values(STATES).map(({ bars }) => JSON.stringify(bars));
  expect(new Set(shapes).size).toBe(shapes.length);
});

it("names rejected trades without a series", () => {
  expect(nameOf({ exchange: "", symbol: "" })).toBe("no symbol · no exchange");
});

it("describes an hour in words", () => {
  const one = { ...series("BTC-USD", ["sequence gaps", null], [17, null]), notes: [["a", "b"], null] };
  expect(describeHour(one, 0, "12:00")).toBe("BTC-USD · kraken, 12:00: sequence gaps, 17 missing numbers, 2 notes");
  expect(describeHour(one, 1, "13:00")).toBe("BTC-USD · kraken, 13:00: no state");
});

it("says why an hour has no state", () => {
  const counted = toSeconds("2026-03-01T12:00:00Z");
  expect(reasonOfNone(counted, "2026-03-01T12:00:00Z")).toBe("not counted yet");
  expect(reasonOfNone(counted - 3600, "2026-03-01T12:00:00Z")).toMatch(/no trade is expected/);
});

it("finds the notes of an hour", () => {
  const now = toSeconds("2026-03-01T12:00:00Z");
  const answer = mockCoverage(new URLSearchParams("exchange=okx"), now);
  const first = answer.series[0] as CoverageSeries;
  const hours = first.states.flatMap((_, column) => notesOf(answer, first, column).map((note) => note.kind));
  expect(hours).toEqual(Array(5).fill("outage"));
});
