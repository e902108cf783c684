import { expect, it } from "vitest";
import { toSeconds } from "../shared/times";
import { movedUntil, spanOf, spanParameters, ticksOf } from "./axis";

const HOUR = 3600;
const NOON = toSeconds("2026-03-02T12:00:00Z");
const hoursFrom = (start: number, count: number) => Array.from({ length: count }, (_, index) => start + index * HOUR);

it("labels as many hours as have space, and the date at midnight", () => {
  expect(ticksOf(hoursFrom(NOON, 24), 20, "utc").map(({ column, text }) => `${column} ${text}`)).toEqual([
    "0 12:00",
    "3 15:00",
    "6 18:00",
    "9 21:00",
    "12 03-03",
    "15 03:00",
    "18 06:00",
    "21 09:00",
  ]);
});

it("leaves out a label that has no space", () => {
  expect(ticksOf(hoursFrom(NOON, 13), 20, "utc").at(-1)).toEqual({ column: 12, text: "" });
});

it("labels whole days in long ranges, always the same ones", () => {
  const days = (start: number) => ticksOf(hoursFrom(start, 744), 2, "utc").map(({ text }) => text);
  expect(days(NOON).slice(0, 3)).toEqual(["03-04", "03-06", "03-08"]);
  expect(days(NOON + 24 * HOUR)[0]).toBe("03-04");
});

it("has hours up to a time", () => {
  const span = spanOf(24, NOON + 1800);
  expect(spanParameters(span)).toEqual({ start: "2026-03-01T12:00:00Z", end: "2026-03-02T12:00:00Z" });
});

it("moves by its length, and follows the newest hours from the last range on", () => {
  const span = spanOf(24, NOON);
  expect(movedUntil(span, -1, NOON)).toBe(NOON - 24 * HOUR);
  expect(movedUntil(span, 1, NOON + 48 * HOUR)).toBe(NOON + 24 * HOUR);
  expect(movedUntil(span, 1, NOON + 24 * HOUR)).toBeNull();
});
