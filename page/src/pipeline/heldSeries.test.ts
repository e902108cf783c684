import { expect, it } from "vitest";
import { heldText } from "./heldSeries";

it("shows the number of held series and the age of the oldest", () => {
  expect(heldText({ held: 0, held_seconds: null })).toBe("0");
  expect(heldText({ held: 1200, held_seconds: 11_100 })).toBe("1,200, the oldest for 3 h 5 min");
});
