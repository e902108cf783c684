import type {
  Candle,
  CandlesAnswer,
  CoverageAnswer,
  HistoryAnswer,
  Incident,
  QualityAnswer,
  SeriesAnswer,
  StatusAnswer,
  TimeframesAnswer,
} from "./types";

/** Most windows of one request. */
export const MAX_WINDOWS = 5000;

type Parameters = Record<string, string | number | boolean | undefined>;

/** An answer that is no success. `message` is one line that says what to do. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** Return a URL below Airflow's own base address, which may have a path prefix. */
export function hostUrl(path: string, base: string = document.baseURI): string {
  const folder = new URL("./", base);
  return new URL(path.replace(/^\//, ""), folder).href;
}

export function apiUrl(path: string, parameters: Parameters = {}, base?: string): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined) query.set(name, String(value));
  }
  const text = query.toString();
  return hostUrl(`ohlcv/api/v1/${path}${text ? `?${text}` : ""}`, base);
}

/** Return the reason of an answer: problem+json, or `detail` of Airflow's own API. */
export function problemText(status: number, body: string): string {
  try {
    const { detail, title } = JSON.parse(body) as { detail?: unknown; title?: unknown };
    if (typeof detail === "string" && detail) return detail;
    if (Array.isArray(detail)) return detail.map((item: { msg?: string }) => item.msg ?? "").join("; ");
    if (typeof title === "string" && title) return title;
  } catch {
    // The body is no JSON: a proxy answered.
  }
  return `The server answered with status ${status}.`;
}

export async function requestJson<T>(url: string, init: RequestInit = {}): Promise<T> {
  let response: Response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...init });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError(0, "The server cannot be reached. Check the connection and retry.");
  }
  if (!response.ok) throw new ApiError(response.status, problemText(response.status, await response.text()));
  return (await response.json()) as T;
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

export function readTimeframes(signal?: AbortSignal): Promise<TimeframesAnswer> {
  return requestJson(apiUrl("timeframes"), { signal });
}

export function readSeries(timeframe: string, search?: string, signal?: AbortSignal): Promise<SeriesAnswer> {
  return requestJson(apiUrl("series", { timeframe, search }), { signal });
}

export function readCandles(parameters: Parameters, signal?: AbortSignal): Promise<CandlesAnswer> {
  return requestJson(apiUrl("candles", parameters), { signal });
}

export function readHistory(parameters: Parameters, signal?: AbortSignal): Promise<HistoryAnswer> {
  return requestJson(apiUrl("candles/history", parameters), { signal });
}

/** Return the candles of a range: none if the timeframe does not have the series (404). */
export async function readRange(parameters: Parameters, signal: AbortSignal): Promise<Candle[]> {
  try {
    return (await readCandles(parameters, signal)).candles;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return [];
    throw error;
  }
}

/** Return all candles of a range, page by page. */
export async function readAllCandles(parameters: Parameters, signal?: AbortSignal): Promise<Candle[]> {
  const candles: Candle[] = [];
  let cursor: string | undefined;
  do {
    const page = await readCandles({ ...parameters, limit: MAX_WINDOWS, cursor }, signal);
    candles.push(...page.candles);
    cursor = page.next_cursor ?? undefined;
  } while (cursor);
  return candles;
}

export function readStatus(signal?: AbortSignal): Promise<StatusAnswer> {
  return requestJson(apiUrl("status"), { signal });
}

export function readQuality(signal?: AbortSignal): Promise<QualityAnswer> {
  return requestJson(apiUrl("quality"), { signal });
}

export function readCoverage(parameters: Parameters, signal?: AbortSignal): Promise<CoverageAnswer> {
  return requestJson(apiUrl("coverage", parameters), { signal });
}

export function readIncidents(signal?: AbortSignal): Promise<{ incidents: Incident[] }> {
  return requestJson(hostUrl("ohlcv/incidents"), { signal });
}

export interface Rebuild {
  start: string;
  end: string;
  timeframes: string[];
  dry_run: boolean;
}

/** Trigger the DAG that rebuilds whole days, with the rights of the user. Return the id of the run. */
export async function triggerRebuild(rebuild: Rebuild): Promise<string> {
  const run = await requestJson<{ dag_run_id: string }>(hostUrl("api/v2/dags/ohlcv_reprocess/dagRuns"), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ logical_date: null, conf: rebuild }),
  });
  return run.dag_run_id;
}
