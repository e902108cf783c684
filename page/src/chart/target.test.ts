import { expect, it } from "vitest";
import { rangeAround, viewOf } from "./target";

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

it("opens an hour in the chart with the crosshair at the window that has its start", () => {
  const hour = 1_772_406_000;
  expect(rangeAround(hour, hour + 3600, 60)).toEqual({
    range: null,
    start: hour - 1800,
    end: hour + 3600 + 1800,
    at: hour,
  });
  const day = rangeAround(hour, hour + 3600, 86_400);
  expect([day.at % 86_400, day.at <= hour, day.end > hour]).toEqual([0, true, true]);
});
