import { expect, it } from "vitest";
import { movedCursor, panned, viewWith, zoomed } from "./moves";

const VIEW = { from: 1200, to: 2400 };
const BOUNDS = { first: 600, newest: 2280 };

it("zooms around the crosshair, or around the middle", () => {
  expect(zoomed(VIEW, 0.5, null)).toEqual({ from: 1500, to: 2100 });
  expect(zoomed(VIEW, 0.5, 1200)).toEqual({ from: 1200, to: 1800 });
  expect(zoomed(VIEW, 0.5, 0)).toEqual(zoomed(VIEW, 0.5, null));
});

it("moves by screens", () => {
  expect(panned(VIEW, -0.5)).toEqual({ from: 600, to: 1800 });
});

it("moves the crosshair within the data", () => {
  expect(movedCursor(1800, -2, VIEW, BOUNDS, 60)).toBe(1680);
  expect(movedCursor(2280, 1, VIEW, BOUNDS, 60)).toBe(2280);
  expect(movedCursor(660, -10, VIEW, BOUNDS, 60)).toBe(600);
  expect(movedCursor(null, -1, VIEW, BOUNDS, 60)).toBe(2280);
});

it("moves the view only as far as the crosshair needs", () => {
  expect(viewWith(1800, VIEW, 60)).toBe(VIEW);
  expect(viewWith(1140, VIEW, 60)).toEqual({ from: 1140, to: 2340 });
  expect(viewWith(2400, VIEW, 60)).toEqual({ from: 1260, to: 2460 });
});
