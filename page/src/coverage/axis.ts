/** Time axis of the heat map. */

import { timeParts, toIso, type Zone } from "../shared/times";

export interface Tick {
  column: number;
  /** Empty if there is no space for it. */
  text: string;
}

const STEPS = [1, 2, 3, 6, 12, 24, 48, 96, 168];
const LABEL_WIDTH = 52;
const TEXT_WIDTH = 36;

/** Return the marked hours: as many as have space, at full days if these are enough. Hours are in seconds. */
export function ticksOf(hours: number[], cell: number, zone: Zone): Tick[] {
  const step = STEPS.find((each) => each * cell >= LABEL_WIDTH) ?? 168;
  const ticks: Tick[] = [];
  for (const [column, hour] of hours.entries()) {
    const { date, time } = timeParts(hour, zone);
    const clock = Number(time.slice(0, 2));
    const days = Math.floor(Date.parse(`${date}T00:00:00Z`) / 86_400_000);
    const due = step < 24 ? clock % step === 0 : clock === 0 && days % (step / 24) === 0;
    // A label has no space behind the last hours.
    const fits = (hours.length - column) * cell >= TEXT_WIDTH;
    if (due) ticks.push({ column, text: !fits ? "" : clock === 0 ? date.slice(5) : time });
  }
  return ticks;
}

export interface Span {
  start: number;
  end: number;
}

const HOUR = 3600;

/** Return the range of a number of hours up to a time. */
export function spanOf(hours: number, until: number): Span {
  const end = Math.floor(until / HOUR) * HOUR;
  return { start: end - hours * HOUR, end };
}

/** Return the end of the range before (-1) or after (1). Null: it has the newest counted hour. */
export function movedUntil(span: Span, direction: -1 | 1, countedUntil: number): number | null {
  const end = span.end + direction * (span.end - span.start);
  return end >= countedUntil ? null : end;
}

export function spanParameters(span: Span): { start: string; end: string } {
  return { start: toIso(span.start), end: toIso(span.end) };
}
