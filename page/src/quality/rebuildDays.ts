import { toIso } from "../shared/times";

const DAY = 86_400;

export interface Days {
  first: string;
  last: string;
  count: number;
}

/** Return the UTC days that overlap [start, end), in seconds, or null if the range is empty. */
export function utcDays(start: number | null, end: number | null): Days | null {
  if (start === null || end === null || start >= end) return null;
  const first = Math.floor(start / DAY);
  const last = Math.ceil(end / DAY) - 1;
  return { first: day(first), last: day(last), count: last - first + 1 };
}

function day(number: number): string {
  return toIso(number * DAY).slice(0, 10);
}
