import { MAX_WINDOWS, readCandles, readRange } from "../api/client";
import type { Candle } from "../api/types";
import { toIso, toSeconds } from "../shared/times";
import { BlockCache } from "./blocks";
import { readTableState, type SeriesKey, type TableState } from "./bounds";
import { type Bounds, missingRanges, type Step, type View } from "./frame";
import type { Drawn } from "./pane";
import type { Request } from "./requestQueue";

export interface DataEvents {
  /** The bounds of a timeframe are known. */
  onTable: () => void;
  /** New candles of a series in a timeframe. */
  onCandles: (series: number, step: Step) => void;
  onError: (error: unknown) => void;
}

/** Stored and provisional candles of one or two series, as far as they were needed. */
export class CandleData {
  private readonly closing = new AbortController();
  private readonly caches = new Map<string, BlockCache>();
  private readonly tables = new Map<string, TableState>();
  private provisional: Map<number, Candle>[];
  private provisionalStep: Step | null = null;
  private reading: string | null = null;
  /** Content of the newest poll. */
  private polled = "";
  computedAt: string | null = null;

  constructor(
    private readonly keys: SeriesKey[],
    private readonly events: DataEvents,
  ) {
    this.provisional = keys.map(() => new Map());
  }

  close(): void {
    this.closing.abort();
  }

  get busy(): boolean {
    return this.reading !== null;
  }

  /** Return what is known of a table. */
  known(name: string): TableState | undefined {
    return this.tables.get(name);
  }

  /** Return the state of a table, or start to read it. */
  table(name: string): TableState | undefined {
    const table = this.tables.get(name);
    if (!table && this.reading !== name) this.read(name);
    return table;
  }

  private async read(name: string): Promise<void> {
    this.reading = name;
    try {
      this.tables.set(name, await readTableState(name, this.keys, this.closing.signal));
      this.reading = null;
    } catch (error) {
      this.reading = null;
      this.events.onError(error);
      return;
    }
    if (!this.closing.signal.aborted) this.events.onTable();
  }

  /** Return the bounds of stored and provisional candles. */
  bounds(step: Step | null): Bounds | null {
    const stored = step ? this.tables.get(step.name)?.bounds : null;
    if (!stored) return null;
    const times = step === this.provisionalStep ? this.provisional.flatMap((candles) => [...candles.keys()]) : [];
    return { first: stored.first, newest: Math.max(stored.newest, ...times) };
  }

  find(series: number, step: Step, time: number): Drawn | undefined {
    const candle = this.cache(series, step).get(time);
    if (candle) return { candle, provisional: false };
    const provisional = step === this.provisionalStep ? this.provisional[series]?.get(time) : undefined;
    return provisional && { candle: provisional, provisional: true };
  }

  provisionalCount(step: Step): number {
    return step === this.provisionalStep ? this.provisional.reduce((sum, candles) => sum + candles.size, 0) : 0;
  }

  /** Return the requests that a view needs, the most urgent first. */
  requests(view: View, step: Step): Request[] {
    const bounds = this.bounds(step);
    if (!bounds) return [];
    return this.keys.flatMap((key, series) => {
      const cache = this.cache(series, step);
      cache.touch(view);
      const ranges = missingRanges(view, step.seconds, bounds, (block) => cache.has(block));
      return ranges.map((range) => ({
        key: `${series} ${step.name} ${range.from} ${range.to}`,
        run: async (signal: AbortSignal) => {
          const span = { start: toIso(range.from), end: toIso(range.to), limit: MAX_WINDOWS };
          const candles = await readRange({ ...selectionOf(step), ...key, ...span }, signal);
          if (signal.aborted) return;
          cache.put(range, candles);
          this.events.onCandles(series, step);
        },
      }));
    });
  }

  /**
   * Read the newest and the provisional candles. After a new snapshot all candles are read again when needed. Return
   * whether anything has changed.
   */
  async poll(step: Step): Promise<boolean> {
    const answers = await Promise.all(
      this.keys.map((key) =>
        readCandles({ ...selectionOf(step), ...key, newest: 1, provisional: true }, this.closing.signal),
      ),
    );
    const table = this.tables.get(step.name);
    if (!table?.bounds || this.closing.signal.aborted) return false;
    const content = JSON.stringify(answers.map((answer) => [step.name, answer.snapshot, answer.provisional?.candles]));
    const changed = content !== this.polled;
    this.polled = content;
    for (const answer of answers) {
      // A late trade changes old candles, too.
      if (answer.snapshot?.id !== table.snapshot?.id) this.expire(step);
      table.snapshot = answer.snapshot;
      table.staleSeconds = answer.stale_seconds;
      const newest = answer.candles.at(-1);
      if (newest) table.bounds.newest = Math.max(table.bounds.newest, toSeconds(newest.window_start));
    }
    this.provisionalStep = step;
    this.computedAt = answers.find((answer) => answer.provisional)?.provisional?.computed_at ?? null;
    this.provisional = answers.map(
      (answer) => new Map(answer.provisional?.candles.map((candle) => [toSeconds(candle.window_start), candle])),
    );
    return changed;
  }

  private expire(step: Step): void {
    this.keys.forEach((_, series) => {
      this.cache(series, step).expire();
    });
  }

  private cache(series: number, step: Step): BlockCache {
    const key = `${series} ${step.name}`;
    let cache = this.caches.get(key);
    if (!cache) {
      cache = new BlockCache(step.seconds);
      this.caches.set(key, cache);
    }
    return cache;
  }
}

/** Return the parameters of every request for candles of a timeframe. A table without measures refuses the second. */
export function selectionOf(step: Step) {
  return { timeframe: step.name, measures: step.measures || undefined };
}
