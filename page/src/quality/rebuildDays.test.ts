import { expect, it } from "vitest";
import { toSeconds } from "../shared/times";
import { utcDays } from "./rebuildDays";

const days = (start: string, end: string) => utcDays(toSeconds(start), toSeconds(end));

it("counts the days that a range touches", () => {
  expect(days("2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z")).toEqual({
    first: "2026-03-01",
    last: "2026-03-01",
    count: 1,
  });
  expect(days("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z")?.count).toBe(1);
  expect(days("2026-03-01T23:59:00Z", "2026-03-03T00:01:00Z")).toEqual({
    first: "2026-03-01",
    last: "2026-03-03",
    count: 3,
  });
});

it("is null for an empty range", () => {
  expect(days("2026-03-02T00:00:00Z", "2026-03-01T00:00:00Z")).toBeNull();
  expect(utcDays(null, 5)).toBeNull();
});
