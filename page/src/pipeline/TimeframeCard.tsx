import type { ReactNode } from "react";
import { Link } from "react-router-dom";
import type { TimeframeStatus } from "../api/types";
import { formatBytes, formatCount, formatPercent } from "../shared/numbers";
import { RunLink } from "../shared/RunLink";
import { StateBadge } from "../shared/StateBadge";
import { formatDuration, formatIso, type Zone } from "../shared/times";
import { DurationPlot } from "./DurationPlot";

/** Everything that is known of one timeframe. */
export function TimeframeCard({ status, zone }: { status: TimeframeStatus; zone: Zone }) {
  const { last_run: run, time_target_seconds: target } = status;
  const facts: [string, ReactNode][] = [
    ["Newest candle ends", formatIso(status.newest_window_end, zone)],
    ["Lag", formatDuration(status.lag_seconds)],
    ["Last run", run ? <LastRun key="run" status={status} /> : "none"],
    ["Started", run ? formatIso(run.start, zone) : "–"],
    ["Duration", run ? <Duration key="duration" seconds={run.duration_seconds} target={target} /> : "–"],
    [
      "Successful in 24 h",
      `${formatPercent(status.succeeded_24h, status.runs_24h)} (${status.succeeded_24h} of ${status.runs_24h})`,
    ],
    ["Rejected trades", rejectedText(status.rejected)],
    ["Withheld candles", formatCount(status.withheld)],
    ["Rows", formatCount(status.rows)],
    ["Files", `${formatCount(status.files)}, ${formatBytes(status.bytes)}`],
    ["Retained from", status.retention_horizon ?? "all"],
    ["Last maintenance", <Maintenance key="maintenance" status={status} zone={zone} />],
  ];
  return (
    <article className="oc-card" aria-label={`Timeframe ${status.name}`}>
      <h2>
        {status.name} <Link to={`/dags/${encodeURIComponent(status.dag_id)}`}>{status.dag_id}</Link>
        {status.paused && <StateBadge state="paused" />}
      </h2>
      <dl className="oc-facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <DurationPlot durations={status.durations} target={target} zone={zone} />
    </article>
  );
}

function LastRun({ status }: { status: TimeframeStatus }) {
  const run = status.last_run;
  if (!run) return null;
  return (
    <>
      <StateBadge state={run.state} />{" "}
      <RunLink dagId={status.dag_id} runId={run.run_id}>
        {run.run_type}
      </RunLink>
    </>
  );
}

function Duration({ seconds, target }: { seconds: number | null; target: number }) {
  if (seconds === null) return <>running, target {formatDuration(target)}</>;
  const late = seconds > target;
  return (
    <span className={late ? "oc-late" : undefined}>
      {formatDuration(seconds)}, {late ? "above" : "within"} the target of {formatDuration(target)}
    </span>
  );
}

function Maintenance({ status, zone }: { status: TimeframeStatus; zone: Zone }) {
  const maintenance = status.last_maintenance;
  if (!maintenance) return <>none</>;
  const text = formatIso(maintenance.at, zone);
  return maintenance.run_id ? (
    <RunLink dagId="ohlcv_retention" runId={maintenance.run_id}>
      {text}
    </RunLink>
  ) : (
    text
  );
}

export function rejectedText(rejected: Record<string, number>): string {
  const reasons = Object.entries(rejected).filter(([, count]) => count > 0);
  if (reasons.length === 0) return "0";
  return reasons.map(([reason, count]) => `${reason}: ${formatCount(count)}`).join(", ");
}
