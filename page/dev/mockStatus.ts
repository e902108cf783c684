import type { QualityAnswer, StatusAnswer, Verdict } from "../src/api/types";
import { toIso } from "../src/shared/times.ts";
import { newestWindow, STEPS } from "./generated.ts";

const TARGETS: Record<string, number> = { "1m": 20, "5m": 30, "30m": 45, "1h": 60, "1d": 90 };

export function mockStatus(now: number): StatusAnswer {
  return {
    airflow: { reachable: true, detail: null },
    stale_seconds: null,
    timeframes: Object.entries(STEPS).map(([name, step], index) => {
      const target = TARGETS[name] ?? 60;
      const durations = Array.from({ length: 100 }, (_, run) => ({
        run_id: `scheduled__${toIso(now - (100 - run) * step)}`,
        start: toIso(now - (100 - run) * step),
        duration_seconds: target * (0.6 + 0.3 * Math.abs(Math.sin(run * 1.7 + index)) + (run % 37 === 3 ? 0.5 : 0)),
        state: run % 41 === 7 ? "failed" : "success",
      }));
      const state = index === 1 ? "failed" : index === 2 ? "running" : "success";
      const newest = newestWindow(step, now) + step;
      return {
        name,
        dag_id: `ohlcv_${name}`,
        newest_window_end: toIso(newest),
        lag_seconds: now - newest,
        time_target_seconds: target,
        last_run: {
          run_id: durations.at(-1)?.run_id ?? "",
          run_type: "scheduled",
          state,
          start: toIso(now - 120),
          end: state === "running" ? null : toIso(now - 100),
          duration_seconds: state === "running" ? null : (durations.at(-1)?.duration_seconds ?? null),
        },
        paused: index === 4,
        runs_24h: 288 - index * 50,
        succeeded_24h: 288 - index * 50 - (index === 1 ? 3 : 0),
        rejected: (index === 0 ? { "price is not positive": 3, "unknown side": 1 } : {}) as Record<string, number>,
        withheld: index === 0 ? 2 : 0,
        held: index === 0 ? 3 : 0,
        held_since: index === 0 ? toIso(now - 11_100) : null,
        held_seconds: index === 0 ? 11_100 : null,
        rows: 1_234_567 >> index,
        files: 720 >> index,
        bytes: 93_456_789 >> index,
        retention_horizon: "2026-08-28",
        last_maintenance:
          index === 3 ? null : { at: toIso(now - 200_000), run_id: "scheduled__2026-11-22T03:00:00+00:00" },
        durations,
      };
    }),
  };
}

function verdict(name: string, step: number, now: number, age: number, passed: boolean): Verdict {
  const end = newestWindow(step, now) + step - age * step;
  const findings = passed
    ? []
    : [
        {
          rule: "matches_trades",
          severity: "FAIL",
          symbol: "BTC-USD",
          exchange: "coinbase",
          window_start: toIso(end - 3 * step),
          stored: "61234.50",
          expected: "61234.51",
        },
        {
          rule: "matches_trades",
          severity: "FAIL",
          symbol: "ETH-USD",
          exchange: "coinbase",
          window_start: toIso(end - 2 * step),
          stored: null,
          expected: "3010.00",
        },
      ];
  return {
    run_id: `scheduled__${toIso(now - age * 300)}`,
    dag_id: `ohlcv_${name}`,
    at: toIso(now - age * 300 - 60),
    passed,
    ranges: [{ start: toIso(end - 8 * step), end: toIso(end) }],
    candles: 40,
    trades: 9383,
    failures: findings.length,
    warnings: 1,
    rules: {
      matches_trades: {
        severity: "FAIL",
        description: "Every field equals the recomputation from trades.",
        findings: findings.length,
      },
      no_orphan_candles: { severity: "FAIL", description: "Each candle has trades.", findings: 0 },
      price_order: { severity: "FAIL", description: "Low ≤ open, close ≤ high.", findings: 0 },
      no_large_jump: { severity: "WARN", description: "The price moves by less than half.", findings: 1 },
    },
    findings,
    notes: passed ? [] : ["2 candles were preserved, because their trades have expired."],
  };
}

export function mockQuality(now: number): QualityAnswer {
  return {
    airflow: { reachable: true, detail: null },
    timeframes: Object.entries(STEPS).map(([name, step], index) => ({
      name,
      dag_id: `ohlcv_${name}`,
      verdicts:
        index === 4
          ? []
          : Array.from({ length: 6 }, (_, age) => verdict(name, step, now, age, !(index === 1 && age === 0))),
    })),
  };
}
