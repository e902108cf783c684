import { expect, it } from "vitest";
import { formatDuration, formatTime, fromInput, toInput, toIso, toSeconds } from "./times";

it("writes times with their zone", () => {
  const noon = toSeconds("2026-03-01T12:00:00Z");
  expect(toIso(noon)).toBe("2026-03-01T12:00:00Z");
  expect(formatTime(noon, "utc")).toBe("2026-03-01 12:00 UTC");
  expect(formatTime(noon + 7, "utc")).toBe("2026-03-01 12:00:07 UTC");
  expect(formatTime(noon, "local")).toMatch(/^2026-03-0[12] \d\d:\d\d [+-]\d\d:\d\d$/);
});

it("reads what it writes into input fields", () => {
  const time = toSeconds("2026-07-01T23:59:00Z");
  expect(fromInput(toInput(time, "utc"), "utc")).toBe(time);
  expect(fromInput(toInput(time, "local"), "local")).toBe(time);
  expect(fromInput("", "utc")).toBeNull();
});

it.each([
  [0.04, "0 s"],
  [9.96, "10 s"],
  [59, "59 s"],
  [60, "1 min"],
  [3725, "1 h 2 min"],
  [90_000, "1 d 1 h"],
])("formats %d seconds", (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});
