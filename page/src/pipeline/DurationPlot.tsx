import type { RunDuration } from "../api/types";
import { formatNumberOf } from "../shared/numbers";
import { formatDuration, formatIso, type Zone } from "../shared/times";
import { median, niceMaximum } from "./plotScale";

const WIDTH = 400;
const HEIGHT = 110;
const LEFT = 34;
const BOTTOM = 14;
const MOST_RUNS = 100;

interface DurationPlotProps {
  durations: RunDuration[];
  target: number;
  zone: Zone;
}

/** Durations of the last runs as bars, with the target as a line. */
export function DurationPlot({ durations, target, zone }: DurationPlotProps) {
  if (durations.length === 0) return <p className="oc-muted">No finished runs yet.</p>;
  const values = durations.map((run) => run.duration_seconds);
  const top = niceMaximum(Math.max(target, ...values));
  const y = (seconds: number) => (HEIGHT - BOTTOM) * (1 - seconds / top) + 4;
  const slot = (WIDTH - LEFT) / MOST_RUNS;
  const late = values.filter((value) => value > target).length;
  const failed = durations.filter((run) => run.state === "failed").length;
  const summary =
    `Durations of ${formatNumberOf(durations.length, "run")}: median ${formatDuration(median(values))}, ` +
    `longest ${formatDuration(Math.max(...values))}, ${late} above the target of ${formatDuration(target)}, ${failed} failed`;
  return (
    <figure className="oc-plot">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={summary}>
        {[0, top / 2, top].map((value) => (
          <g key={value}>
            <line x1={LEFT} x2={WIDTH} y1={y(value)} y2={y(value)} className="oc-plot-grid" />
            <text x={LEFT - 4} y={y(value) + 3} textAnchor="end">
              {value} s
            </text>
          </g>
        ))}
        {durations.map((run, index) => (
          <rect
            key={run.run_id}
            x={LEFT + (MOST_RUNS - durations.length + index) * slot}
            y={y(run.duration_seconds)}
            width={slot * 0.75}
            height={Math.max(1, y(0) - y(run.duration_seconds))}
            className={barClass(run, target)}
          >
            <title>{`${formatIso(run.start, zone)}: ${formatDuration(run.duration_seconds)}, ${run.state}`}</title>
          </rect>
        ))}
        <line x1={LEFT} x2={WIDTH} y1={y(target)} y2={y(target)} className="oc-plot-target" />
      </svg>
      <figcaption className="oc-muted">{summary}.</figcaption>
    </figure>
  );
}

function barClass(run: RunDuration, target: number): string {
  if (run.state === "failed") return "oc-bar-failed";
  return run.duration_seconds > target ? "oc-bar-late" : "oc-bar";
}
