import { expect, it } from "vitest";
import { movedCell, type Position } from "./moves";

const press = (position: Position | null, key: string, modifier = "") =>
  movedCell(
    position,
    {
      key,
      shiftKey: modifier === "Shift",
      ctrlKey: modifier === "Control",
      altKey: modifier === "Alt",
      metaKey: false,
    },
    20,
    168,
  );
const MIDDLE = { row: 5, column: 100 };

it.each([
  ["ArrowLeft", "", { row: 5, column: 99 }],
  ["ArrowRight", "", { row: 5, column: 101 }],
  ["ArrowRight", "Shift", { row: 5, column: 124 }],
  ["ArrowUp", "", { row: 4, column: 100 }],
  ["ArrowDown", "", { row: 6, column: 100 }],
  ["PageUp", "", { row: 0, column: 100 }],
  ["PageDown", "", { row: 15, column: 100 }],
  ["Home", "", { row: 5, column: 0 }],
  ["End", "", { row: 5, column: 167 }],
  ["Home", "Control", { row: 0, column: 0 }],
  ["End", "Control", { row: 19, column: 167 }],
])("%s %s moves the cell", (key, modifier, expected) => {
  expect(press(MIDDLE, key, modifier)).toEqual(expected);
});

it("stays in the map", () => {
  expect(press({ row: 0, column: 0 }, "ArrowUp")).toEqual({ row: 0, column: 0 });
  expect(press({ row: 19, column: 160 }, "ArrowRight", "Shift")).toEqual({ row: 19, column: 167 });
});

it("begins at the newest hour of the first series", () => {
  expect(press(null, "ArrowDown")).toEqual({ row: 0, column: 167 });
  expect(press(null, "Home")).toEqual({ row: 0, column: 0 });
});

it("leaves other keys to the browser", () => {
  for (const [key, modifier] of [["a"], ["ArrowLeft", "Alt"], ["ArrowLeft", "Control"], ["Tab"]] as const) {
    expect(press(MIDDLE, key, modifier)).toBeNull();
  }
  expect(
    movedCell(null, { key: "Home", shiftKey: false, ctrlKey: false, altKey: false, metaKey: false }, 0, 24),
  ).toBeNull();
});
