import { expect, it } from "vitest";
import { viewOf } from "./target";

const BOUNDS = { first: 0, newest: 999 * 60 };

it("shows a fixed span as it is", () => {
  expect(viewOf({ from: 5, to: 10 }, BOUNDS, 60, 1000)).toEqual({ from: 5, to: 10 });
});

it("shows a preset up to the newest window", () => {
  const view = viewOf({ newest: 6000 }, BOUNDS, 60, 1000);
  expect(view.to - view.from).toBe(6000);
  expect(view.to).toBeGreaterThan(BOUNDS.newest + 60);
});

it("shows all windows, or a number that suits the width", () => {
  expect(viewOf({ newest: "all" }, BOUNDS, 60, 1000).from).toBeLessThanOrEqual(0);
  const view = viewOf({ newest: null }, BOUNDS, 60, 1000);
  expect((view.to - view.from) / 60).toBe(125);
});
