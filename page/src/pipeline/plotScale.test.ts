import { expect, it } from "vitest";
import { median, niceMaximum } from "./plotScale";

it("rounds the end of a scale up", () => {
  expect([0, 0.3, 1, 1.1, 21, 50, 51].map(niceMaximum)).toEqual([1, 0.5, 1, 2, 50, 50, 100]);
});

it("returns the median", () => {
  expect([median([]), median([3, 1, 2]), median([4, 1, 2, 3])]).toEqual([null, 2, 2.5]);
});
