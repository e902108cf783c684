import { expect, it } from "vitest";
import { decimalsOf, formatBytes, formatDecimal, formatPercent } from "./numbers";

it.each([
  ["1234567.8900", 0, "1,234,567.89"],
  ["1234567.5", 2, "1,234,567.50"],
  ["84100.50000000", 2, "84,100.50"],
  ["12345678901234567890.12345678", 2, "12,345,678,901,234,567,890.12345678"],
  ["-1000", 0, "-1,000"],
  ["0.00000001", 0, "0.00000001"],
  ["999", 0, "999"],
  [null, 2, "–"],
])("formats %s exactly", (text, minimum, expected) => {
  expect(formatDecimal(text, minimum)).toBe(expected);
});

it("counts the decimals that a number needs", () => {
  expect(["1", "1.50", "1.00000001", "1.000"].map(decimalsOf)).toEqual([0, 1, 8, 0]);
});

it("formats sizes and shares", () => {
  expect([0, 999, 1000, 93_456_789].map(formatBytes)).toEqual(["0 B", "999 B", "1.0 kB", "93.5 MB"]);
  expect([formatPercent(9999, 10_000), formatPercent(288, 288), formatPercent(0, 0)]).toEqual(["99.9 %", "100 %", "–"]);
});
