import { describe, expect, it } from "vitest";
import { DEFAULTS, parseSelection, type Selection, withSelection } from "./selection";

const parse = (text: string) => parseSelection(new URLSearchParams(text));

describe("selection in the URL", () => {
  it("is restored", () => {
    const selection: Selection = {
      tab: "chart",
      symbol: "BTC-USD",
      exchange: "a&b=c",
      compare: "kraken",
      timeframe: "5m",
      range: null,
      start: 1_772_323_200,
      end: 1_772_409_600,
      at: 1_772_330_000,
      log: true,
      zone: "local",
      span: "7d",
      until: 1_772_409_600,
      coverageExchange: "kraken",
      search: "BTC",
      problems: true,
      cursor: "abc",
      cell: { exchange: "kraken", symbol: "BTC/USD", hour: 1_772_406_000 },
    };
    const query = withSelection(new URLSearchParams(), selection);
    expect(query.get("start")).toBe("2026-03-01T00:00:00Z");
    expect(parseSelection(query)).toEqual(selection);
  });
  it("leaves defaults out and parameters of others in", () => {
    expect(withSelection(new URLSearchParams("other=1&scale=log"), DEFAULTS).toString()).toBe("other=1");
  });
  it("restores the cell of rejected trades without a series", () => {
    const cell = { exchange: "", symbol: "", hour: 1_772_406_000 };
    const query = withSelection(new URLSearchParams(), { ...DEFAULTS, cell });
    expect(parseSelection(query).cell).toEqual(cell);
  });
  it("ignores what is invalid", () => {
    expect(parse("tab=x&range=5y&start=yesterday&end=2026-03-01T00:00:00Z&zone=mars&span=1y&until=x&cell=now")).toEqual(
      DEFAULTS,
    );
    expect(parse("start=2026-03-02T00:00:00Z&end=2026-03-01T00:00:00Z")).toEqual(DEFAULTS);
  });
});
