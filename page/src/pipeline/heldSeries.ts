import type { TimeframeStatus } from "../api/types";
import { formatCount } from "../shared/numbers";
import { formatDuration } from "../shared/times";

/** Return the number of held series and the age of the oldest. */
export function heldText(status: Pick<TimeframeStatus, "held" | "held_seconds">): string {
  if (status.held === 0) return "0";
  return `${formatCount(status.held)}, the oldest for ${formatDuration(status.held_seconds)}`;
}
