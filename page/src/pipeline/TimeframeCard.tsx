import type { ReactNode } from "react";
import { Link } from "react-router-dom";
import type { LastRun as LastRunDocument, TimeframeStatus } from "../api/types";
import { Notice } from "../shared/Notice";
import { formatBytes, formatCount, formatPercent } from "../shared/numbers";
import { RunLink } from "../shared/RunLink";
import { StateBadge } from "../shared/StateBadge";
import { formatDuration, formatIso, type Zone } from "../shared/times";
import { DurationPlot } from "./DurationPlot";
import { heldText } from "./heldSeries";

interface TimeframeCardProps {
  status: TimeframeStatus;
  /** Airflow answered: runs are known. */
  known: boolean;
  zone: Zone;
}

type Fact = [string, ReactNode];

/** Everything that is known of one timeframe. */
export function TimeframeCard({ status, known, zone }: TimeframeCardProps) {
  const facts: Fact[] = [
    ["Newest candle ends", formatIso(status.newest_window_end, zone)],
    ["Lag", formatDuration(status.lag_seconds)],
    ...(known ? runFacts(status, zone) : ([["Runs", "unknown"]] as Fact[])),
    ["Rejected trades", rejectedText(status.rejected)],
    ["Withheld candles", formatCount(status.withheld)],
    ["Held series", <HeldSeries key="held" status={status} zone={zone} />],
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
      {status.problem && <Notice kind="warning">{status.problem}</Notice>}
      <dl className="oc-facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {known && <DurationPlot durations={status.durations} target={status.time_target_seconds} zone={zone} />}
    </article>
  );
}

function runFacts(status: TimeframeStatus, zone: Zone): Fact[] {
  const { last_run: run, runs_24h: ended, succeeded_24h: succeeded } = status;
  return [
    ["Last run", run ? <LastRun key="run" status={status} /> : "none"],
    ["Started", run ? formatIso(run.start, zone) : "–"],
    ["Duration", run ? <Duration key="duration" run={run} target={status.time_target_seconds} /> : "–"],
    ["Successful in 24 h", ended ? `${formatPercent(succeeded, ended)} (${succeeded} of ${ended})` : "no runs"],
  ];
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

function Duration({ run, target }: { run: LastRunDocument; target: number }) {
  const seconds = run.duration_seconds;
  if (seconds === null) return `not known, target ${formatDuration(target)}`;
  const late = seconds > target;
  return (
    <span className={late ? "oc-late" : undefined}>
      {formatDuration(seconds)}, {late ? "above" : "within"} the target of {formatDuration(target)}
    </span>
  );
}

function HeldSeries({ status, zone }: { status: TimeframeStatus; zone: Zone }) {
  const text = heldText(status);
  if (status.held === 0) return <>{text}</>;
  return (
    <span className="oc-late" title={`since ${formatIso(status.held_since, zone)}`}>
      {text}
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
