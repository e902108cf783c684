import { expect, it, vi } from "vitest";
import { pressKey } from "./keys";

const NO_MODIFIERS = { shiftKey: false, ctrlKey: false, altKey: false, metaKey: false };

function newChart() {
  return {
    moveCursor: vi.fn(),
    pan: vi.fn(),
    zoom: vi.fn(),
    goTo: vi.fn(),
    clearCursor: vi.fn(),
    pick: vi.fn(),
  };
}

it.each([
  ["ArrowLeft", false, "moveCursor", -1],
  ["ArrowRight", true, "moveCursor", 10],
  ["PageUp", false, "pan", -0.9],
  ["+", false, "zoom", 0.7],
  ["-", false, "zoom", 1 / 0.7],
  ["Home", false, "goTo", "first"],
  ["End", false, "goTo", "newest"],
])("%s (Shift: %s) calls %s", (key, shiftKey, name, argument) => {
  const chart = newChart();
  expect(pressKey(chart, { ...NO_MODIFIERS, key, shiftKey })).toBe(true);
  expect(chart[name as keyof typeof chart]).toHaveBeenCalledWith(argument);
});

it("Enter picks the candle at the crosshair", () => {
  const chart = newChart();
  expect(pressKey(chart, { ...NO_MODIFIERS, key: "Enter", shiftKey: false })).toBe(true);
  expect(chart.pick).toHaveBeenCalledOnce();
});

it("leaves other keys and those of the browser", () => {
  const chart = newChart();
  expect(pressKey(chart, { ...NO_MODIFIERS, key: "a" })).toBe(false);
  expect(pressKey(chart, { ...NO_MODIFIERS, key: "-", ctrlKey: true })).toBe(false);
});
