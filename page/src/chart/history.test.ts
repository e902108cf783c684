import { expect, it } from "vitest";
import type { Version } from "../api/types";
import { changeText, reasonText, triggerText } from "./history";

const VERSION: Version = {
  publication: 2,
  visible_at: "2026-03-01T12:00:00Z",
  change: "updated",
  causes: [],
  lateness: null,
  held_since: null,
  waived: false,
  trigger: "scheduled",
  dag_id: "ohlcv_1h",
  run_id: "scheduled__1",
  open_price: "1.00000000",
  high_price: "1.00000000",
  low_price: "1.00000000",
  close_price: "1.00000000",
  volume: "1.00000000",
  trade_count: 1,
};

it("names the change, and the candle with which the ledger began", () => {
  expect(changeText(VERSION)).toBe("updated");
  expect(changeText({ ...VERSION, change: null })).toBe("known since the ledger began");
});

it("names the trigger, but not that of the version with which the ledger began", () => {
  expect(triggerText(VERSION)).toBe("scheduled");
  expect(triggerText({ ...VERSION, change: null, trigger: "first" })).toBe("–");
});

it.each([
  [{}, "–"],
  [{ causes: ["unknown"] }, "cause unknown"],
  [
    { causes: ["trade added", "trade corrected"], lateness: 90_000_000 },
    "trade added, trade corrected, 1 min 30 s late",
  ],
  [{ causes: ["trade added"], lateness: -2_000_000 }, "trade added, 2 s before the end"],
  [{ held_since: "2026-03-01T11:00:00Z", waived: true }, "held since 2026-03-01 11:00 UTC, waived"],
])("says why: %o", (values, text) => {
  expect(reasonText({ ...VERSION, ...values }, "utc")).toBe(text);
});
