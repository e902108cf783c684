/** Texts and sums of the coverage. */

import type { CoverageAnswer, CoverageNote, CoverageSeries } from "../api/types";
import { formatCount, formatNumberOf } from "../shared/numbers";
import { toSeconds } from "../shared/times";
import { isProblem } from "./states";

/** Return the name of a series. Rejected trades may have no exchange or symbol. */
export function nameOf(series: { exchange: string; symbol: string }): string {
  return `${series.symbol || "no symbol"} · ${series.exchange || "no exchange"}`;
}

export function hasProblem(series: CoverageSeries): boolean {
  return series.states.some(isProblem);
}

/** Return one line about the series that are shown. */
export function summaryOf(series: CoverageSeries[]): string {
  const hours = (state: string) =>
    series.reduce((sum, each) => sum + each.states.filter((one) => one === state).length, 0);
  const missing = series.reduce((sum, each) => sum + each.missing.reduce<number>((all, one) => all + (one ?? 0), 0), 0);
  return [
    `${formatCount(series.length)} series`,
    `${formatNumberOf(hours("sequence gaps"), "hour")} with gaps`,
    formatNumberOf(missing, "missing number"),
    `${formatNumberOf(hours("no data"), "hour")} without data`,
    `${formatNumberOf(hours("silent"), "silent hour")}`,
  ].join(", ");
}

/** Return what is known of an hour without a state. */
export function reasonOfNone(hour: number, countedUntil: string | null): string {
  if (countedUntil === null || hour >= toSeconds(countedUntil)) return "not counted yet";
  return "no trade is expected, or the hour is not counted yet";
}

/** Return the notes of an hour of a series. */
export function notesOf(answer: CoverageAnswer, series: CoverageSeries, column: number): CoverageNote[] {
  const ids = series.notes[column] ?? [];
  return answer.notes.filter((note) => ids.includes(note.note));
}

/** Return an hour of a series in words, for readers of the screen. */
export function describeHour(series: CoverageSeries, column: number, time: string): string {
  const missing = series.missing[column] ?? 0;
  const notes = series.notes[column]?.length ?? 0;
  return [
    `${nameOf(series)}, ${time}: ${series.states[column] ?? "no state"}`,
    ...(missing > 0 ? [formatNumberOf(missing, "missing number")] : []),
    ...(notes > 0 ? [formatNumberOf(notes, "note")] : []),
  ].join(", ");
}
