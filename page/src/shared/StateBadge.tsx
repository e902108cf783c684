const COLORS: Record<string, string> = {
  success: "success",
  passed: "success",
  failed: "failed",
  running: "running",
  queued: "running",
  paused: "warning",
};

/** A state in words and colour. */
export function StateBadge({ state }: { state: string }) {
  return <span className={`oc-badge oc-${COLORS[state] ?? "muted"}`}>{state}</span>;
}
