/** Answers of the candle service. Decimals and snapshot ids are strings; times are ISO 8601 in UTC. */

export interface Snapshot {
  id: string;
  committed_at: string;
}

export interface TimeframeInfo {
  name: string;
  seconds: number;
  dag_id: string;
  retention: string;
  time_target_seconds: number;
  /** Whether its candles have measures. */
  measures: boolean;
  snapshot: Snapshot | null;
  first_window: string | null;
  newest_window: string | null;
}

export interface TimeframesAnswer {
  timeframes: TimeframeInfo[];
  stale_seconds: number | null;
}

export interface SeriesRange {
  symbol: string;
  exchange: string;
  first_window: string;
  newest_window: string;
}

export interface SeriesAnswer {
  timeframe: string;
  snapshot: Snapshot | null;
  stale_seconds: number | null;
  series: SeriesRange[];
  truncated?: boolean;
}

export interface Candle {
  symbol: string;
  exchange: string;
  window_start: string;
  window_end: string;
  open_price: string;
  high_price: string;
  low_price: string;
  close_price: string;
  volume: string;
  trade_count: number;
  vwap: string | null;
  created_at: string | null;
  updated_at: string | null;
  /** The measures, if they were asked for: null if they are not known. */
  quote_volume?: string | null;
  taker_buy_volume?: string | null;
  taker_buy_quote_volume?: string | null;
  first_trade_at?: string | null;
  last_trade_at?: string | null;
}

export interface Provisional {
  trades_snapshot: Snapshot | null;
  computed_at: string;
  candles: Candle[];
}

export interface CandlesAnswer {
  timeframe: string;
  snapshot: Snapshot | null;
  stale_seconds: number | null;
  candles: Candle[];
  next_cursor: string | null;
  provisional: Provisional | null;
}

/** A version of a candle, by the publication that made it. Its values are null from a deletion on. */
export interface Version {
  publication: number;
  visible_at: string;
  /** inserted, updated, deleted; null for the candle with which the ledger began. */
  change: string | null;
  causes: string[];
  /** Microseconds. */
  lateness: number | null;
  held_since: string | null;
  waived: boolean;
  trigger: string;
  dag_id: string | null;
  run_id: string | null;
  open_price: string | null;
  high_price: string | null;
  low_price: string | null;
  close_price: string | null;
  volume: string | null;
  trade_count: number | null;
}

export interface HistoryAnswer {
  window_start: string;
  /** Later publications are not recorded yet. */
  known_until: string | null;
  versions: Version[];
}

export interface AirflowState {
  reachable: boolean;
  detail: string | null;
}

export interface LastRun {
  run_id: string;
  run_type: string;
  state: string;
  start: string | null;
  end: string | null;
  duration_seconds: number | null;
}

export interface RunDuration {
  run_id: string;
  start: string;
  duration_seconds: number;
  state: string;
}

export interface TimeframeStatus {
  name: string;
  dag_id: string;
  /** Why the table cannot be read. */
  problem?: string | null;
  newest_window_end: string | null;
  lag_seconds: number | null;
  time_target_seconds: number;
  last_run: LastRun | null;
  paused: boolean | null;
  runs_24h: number;
  succeeded_24h: number;
  rejected: Record<string, number>;
  withheld: number | null;
  /** Series whose new candles failed the audit. */
  held: number;
  held_since: string | null;
  held_seconds: number | null;
  rows: number;
  files: number;
  bytes: number;
  retention_horizon: string | null;
  last_maintenance: { at: string; run_id: string | null } | null;
  durations: RunDuration[];
}

export interface StatusAnswer {
  airflow: AirflowState;
  stale_seconds: number | null;
  timeframes: TimeframeStatus[];
}

export interface Incident {
  key: string;
  since: string;
  suppressed: boolean;
  error: string | null;
}

export interface Finding {
  rule: string;
  severity: string;
  symbol: string;
  exchange: string;
  window_start: string;
  stored: string | null;
  expected: string | null;
}

export interface RuleResult {
  severity: string;
  description?: string;
  findings: number;
}

export interface TimeRange {
  start: string;
  end: string;
}

export interface Verdict {
  run_id: string;
  /** Number of the task in a run that validates several days. */
  map_index?: number;
  dag_id: string;
  at: string;
  passed: boolean;
  ranges: TimeRange[];
  candles: number;
  trades: number;
  failures: number;
  warnings: number;
  rules: Record<string, RuleResult>;
  findings: Finding[];
  notes: string[];
}

export interface QualityAnswer {
  airflow: AirflowState;
  timeframes: { name: string; dag_id: string; verdicts: Verdict[] }[];
}

export interface CoverageNote {
  note: string;
  /** halt, outage, delisting or expected. */
  kind: string;
  exchange: string;
  /** Null: every symbol of the exchange. */
  symbol: string | null;
  start_time: string;
  end_time: string | null;
  author: string;
  reason: string;
}

/** A series, with one item per hour in each list. An item is null if nothing is known of the hour, or expected in it. */
export interface CoverageSeries {
  exchange: string;
  symbol: string;
  states: (string | null)[];
  trades: (number | null)[];
  missing: (number | null)[];
  rejected: (number | null)[];
  duplicates: (number | null)[];
  details: (string | null)[];
  /** Identifiers of notes. */
  notes: (string[] | null)[];
}

export interface CoverageAnswer {
  start: string;
  end: string;
  /** Hours before it are counted, but for the pending ones. Null: nothing was ever counted. */
  counted_until: string | null;
  pending_hours: number;
  hours: string[];
  series: CoverageSeries[];
  notes: CoverageNote[];
  next_cursor: string | null;
}
