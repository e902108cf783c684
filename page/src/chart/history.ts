/** Texts of the versions of a candle. */

import type { Version } from "../api/types";
import { formatDuration, formatIso, type Zone } from "../shared/times";

/** Return what a publication did to the candle. */
export function changeText(version: Version): string {
  return version.change ?? "known since the ledger began";
}

/** Return why the candle changed, and how late the newest of the added trades was. */
export function reasonText(version: Version, zone: Zone): string {
  const parts = version.causes.map((cause) => (cause === "unknown" ? "cause unknown" : cause));
  if (version.lateness !== null) parts.push(latenessText(version.lateness));
  if (version.held_since !== null) parts.push(`held since ${formatIso(version.held_since, zone)}`);
  if (version.waived) parts.push("waived");
  return parts.join(", ") || "–";
}

/** Return what published a version without a run. The ledger does not know what published its first one. */
export function triggerText(version: Version): string {
  return version.change === null ? "–" : version.trigger;
}

/** Return a lateness in microseconds. Trades may arrive before their window ends. */
function latenessText(microseconds: number): string {
  const seconds = microseconds / 1_000_000;
  return seconds < 0 ? `${formatDuration(-seconds)} before the end` : `${formatDuration(seconds)} late`;
}
