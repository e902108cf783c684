/** Texts of times and durations. Times inside the page are seconds since 1970 in UTC. */

export type Zone = "utc" | "local";

export function toSeconds(iso: string): number {
  return Math.floor(Date.parse(iso) / 1000);
}

/** Return a time as the API writes it, for example 2026-03-01T12:00:00Z. */
export function toIso(seconds: number): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}Z`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

function offsetText(date: Date): string {
  const minutes = -date.getTimezoneOffset();
  const size = Math.abs(minutes);
  return `${minutes < 0 ? "-" : "+"}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

export interface TimeParts {
  date: string;
  /** With seconds only if they are not 0. */
  time: string;
  zone: string;
}

export function timeParts(seconds: number, zone: Zone): TimeParts {
  const moment = new Date(seconds * 1000);
  const local = zone === "local";
  // A shifted date whose UTC fields are the local ones.
  const shown = local ? new Date(moment.getTime() - moment.getTimezoneOffset() * 60_000) : moment;
  const iso = shown.toISOString();
  return {
    date: iso.slice(0, 10),
    time: iso.slice(17, 19) === "00" ? iso.slice(11, 16) : iso.slice(11, 19),
    zone: local ? offsetText(moment) : "UTC",
  };
}

/** Return for example "2026-03-01 12:00 UTC" or "2026-03-01 13:00 +01:00". */
export function formatTime(seconds: number, zone: Zone): string {
  const parts = timeParts(seconds, zone);
  return `${parts.date} ${parts.time} ${parts.zone}`;
}

export function formatIso(iso: string | null | undefined, zone: Zone = "utc"): string {
  return iso ? formatTime(toSeconds(iso), zone) : "–";
}

/** Return the name of the browser's time zone, for example Europe/Berlin. */
export function localZoneName(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone;
}

/** Return the value of an `<input type="datetime-local">`. */
export function toInput(seconds: number, zone: Zone): string {
  const parts = timeParts(seconds, zone);
  return `${parts.date}T${parts.time}`;
}

/** Return the seconds of such an input, or null if it is empty. */
export function fromInput(text: string, zone: Zone): number | null {
  const value = Date.parse(zone === "utc" ? `${text}Z` : text);
  return Number.isNaN(value) ? null : Math.floor(value / 1000);
}

/** Return a duration with at most two units, for example "2 h 5 min". */
export function formatDuration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return "–";
  const size = Math.max(0, seconds);
  if (size < 10) return `${Number(size.toFixed(1))} s`;
  const whole = Math.round(size);
  if (whole < 60) return `${whole} s`;
  const units: [string, number][] = [
    ["d", 86_400],
    ["h", 3600],
    ["min", 60],
    ["s", 1],
  ];
  const first = units.findIndex(([, length]) => whole >= length);
  const [name, length] = units[first] as [string, number];
  const [nextName, nextLength] = units[first + 1] ?? ["", 1];
  const rest = Math.floor((whole % length) / nextLength);
  return `${Math.floor(whole / length)} ${name}${rest && nextName ? ` ${rest} ${nextName}` : ""}`;
}
