import { describe, expect, it } from "vitest";
import { MAX_WINDOWS } from "../api/client";
import {
  BLOCK,
  clampView,
  frameEnd,
  frameOf,
  fromLogical,
  missingRanges,
  needsFrame,
  shownStep,
  toLogical,
  windowsOf,
} from "./frame";

const STEPS = [
  { name: "1d", seconds: 86_400, measures: false },
  { name: "1m", seconds: 60, measures: false },
  { name: "1h", seconds: 3600, measures: false },
];
const YEAR = { first: 0, newest: 525_599 * 60 };

describe("shownStep", () => {
  const shown = (windows: number, current: string | null = null) =>
    shownStep(STEPS, "1m", current, { from: 0, to: windows * 60 }, 1000)?.name;

  it("draws the selected timeframe while the view has few windows", () => {
    expect(shown(1000)).toBe("1m");
  });
  it("draws the next coarser timeframe when zoomed out", () => {
    expect(shown(1001)).toBe("1h");
    expect(shown(60_001)).toBe("1d");
  });
  it("draws the coarsest one if none is coarse enough", () => {
    expect(shown(10_000_000)).toBe("1d");
  });
  it("returns to the finer one only when that fits well", () => {
    expect(shown(900, "1h")).toBe("1h");
    expect(shown(700, "1h")).toBe("1m");
  });
  it("never draws a finer timeframe than the selected one", () => {
    expect(shownStep(STEPS, "1h", null, { from: 0, to: 60 }, 1000)?.name).toBe("1h");
  });
  it("returns null for an unknown timeframe", () => {
    expect(shownStep(STEPS, "2h", null, { from: 0, to: 60 }, 1000)).toBeNull();
  });
});

it("widens a view to whole windows", () => {
  expect(windowsOf({ from: 61, to: 121 }, 60)).toEqual({ from: 60, to: 180 });
  expect(windowsOf({ from: 60, to: 120 }, 60)).toEqual({ from: 60, to: 120 });
});

describe("clampView", () => {
  it("keeps a view in the data", () => {
    expect(clampView({ from: 6000, to: 12_000 }, YEAR, 60, 1000)).toEqual({ from: 6000, to: 12_000 });
  });
  it("moves a view that is far before or after the data", () => {
    expect(clampView({ from: -1e9, to: -1e9 + 6000 }, YEAR, 60, 1000).to).toBeGreaterThanOrEqual(0);
    expect(clampView({ from: 1e12, to: 1e12 + 6000 }, YEAR, 60, 1000).from).toBeLessThanOrEqual(YEAR.newest + 60);
  });
  it("keeps the newest window when it shortens a view", () => {
    const few = { first: 0, newest: 540 };
    expect(clampView({ from: -1e6, to: 660 }, few, 60, 1000)).toEqual({ from: 660 - 3600, to: 660 });
  });
  it("limits the number of windows", () => {
    const { from, to } = clampView({ from: 0, to: 1e9 }, YEAR, 60, 1000);
    expect((to - from) / 60).toBe(1000);
    const least = clampView({ from: 0, to: 1 }, YEAR, 60, 1000);
    expect((least.to - least.from) / 60).toBe(10);
  });
});

describe("frameOf", () => {
  const view = { from: 600_000, to: 660_000 };

  it("has two screens on each side and whole windows", () => {
    expect(frameOf(view, YEAR, 60)).toEqual({ step: 60, start: 480_000, count: 5001 });
  });
  it("ends at the data", () => {
    const frame = frameOf({ from: 0, to: 6000 }, YEAR, 60);
    expect(frame.start).toBe(0);
    expect(frameEnd(frameOf({ from: YEAR.newest - 600, to: YEAR.newest + 600 }, YEAR, 60))).toBe(YEAR.newest + 60);
  });
  it("is needed again only near its ends", () => {
    const frame = frameOf(view, YEAR, 60);
    expect(needsFrame(view, frame, YEAR)).toBe(false);
    expect(needsFrame({ from: 500_000, to: 560_000 }, frame, YEAR)).toBe(true);
    expect(needsFrame({ from: -6000, to: 6000 }, frameOf({ from: 0, to: 6000 }, YEAR, 60), YEAR)).toBe(false);
  });
  it("converts times and positions", () => {
    const frame = frameOf(view, YEAR, 60);
    expect(toLogical(frame.start, frame)).toBe(-0.5);
    expect(fromLogical(toLogical(view.to, frame), frame)).toBeCloseTo(view.to);
  });
});

describe("missingRanges", () => {
  const length = BLOCK * 60;
  const view = { from: 10 * length, to: 12 * length };

  it("asks for the view first, then for one screen on each side", () => {
    expect(missingRanges(view, 60, YEAR, () => false)).toEqual([
      { from: 10 * length, to: 12 * length },
      { from: 12 * length, to: 14 * length },
      { from: 8 * length, to: 10 * length },
    ]);
  });
  it("leaves out blocks that are there, and does not bridge them", () => {
    expect(
      missingRanges({ from: 10 * length, to: 13 * length }, 60, YEAR, (block) => block !== 10 && block !== 12),
    ).toEqual([
      { from: 10 * length, to: 11 * length },
      { from: 12 * length, to: 13 * length },
    ]);
  });
  it("asks for at most 5,000 windows at once", () => {
    const ranges = missingRanges({ from: 0, to: YEAR.newest }, 60, YEAR, () => false);
    expect(Math.max(...ranges.map((range) => (range.to - range.from) / 60))).toBe(MAX_WINDOWS);
  });
  it("asks for nothing outside the data", () => {
    expect(missingRanges({ from: -1e8, to: -1e8 + 6000 }, 60, YEAR, () => false)).toEqual([]);
  });
});
