import { expect, it } from "vitest";
import { barsPath, cellWidth } from "./paths";

it("gives each hour whole pixels, at least two", () => {
  expect([cellWidth(1000, 24), cellWidth(1000, 168), cellWidth(1000, 744), cellWidth(5000, 24)]).toEqual([
    41, 5, 2, 48,
  ]);
  expect([cellWidth(-190, 24), cellWidth(1000, 0)]).toEqual([2, 48]);
});

it("merges neighbours in narrow cells", () => {
  const has = (column: number) => column !== 2;
  expect(barsPath({ hours: 5, cell: 2 }, [[4, 20]], has)).toBe("M0 4h4v16h-4zM6 4h4v16h-4z");
});

it("leaves a pixel between wide cells", () => {
  expect(barsPath({ hours: 2, cell: 10 }, [[4, 20]], () => true)).toBe("M0 4h9v16h-9zM10 4h9v16h-9z");
});

it("draws each bar of a state", () => {
  const bars: [number, number][] = [
    [4, 10],
    [14, 20],
  ];
  expect(barsPath({ hours: 3, cell: 2 }, bars, (column) => column === 1)).toBe("M2 4h2v6h-2zM2 14h2v6h-2z");
  expect(barsPath({ hours: 3, cell: 2 }, bars, () => false)).toBe("");
});
