import { useState } from "react";
import type { Finding, Verdict } from "../api/types";
import { formatNumberOf } from "../shared/numbers";
import { RunLink } from "../shared/RunLink";
import { StateBadge } from "../shared/StateBadge";
import { formatIso, type Zone } from "../shared/times";
import type { RebuildRange } from "./RebuildDialog";
import { Findings, Rules } from "./VerdictTables";

interface VerdictCardProps {
  name: string;
  dagId: string;
  verdicts: Verdict[];
  /** Airflow answered: missing verdicts do not exist. */
  known: boolean;
  zone: Zone;
  onOpen: (finding: Finding) => void;
  onRebuild: (range: RebuildRange) => void;
}

/** One verdict of a timeframe, at first the newest. */
export function VerdictCard({ name, dagId, verdicts, known, zone, onOpen, onRebuild }: VerdictCardProps) {
  const [chosen, setChosen] = useState<string | null>(null);
  const verdict = verdicts.find((item) => keyOf(item) === chosen) ?? verdicts[0];
  if (!verdict) {
    return (
      <article className="oc-card" aria-label={`Validation of ${name}`}>
        <h2>{name}</h2>
        <p className="oc-muted">
          {known ? `No validation yet. Each run of ${dagId} ends with one.` : "Validations are not known."}
        </p>
      </article>
    );
  }
  const start = verdict.ranges[0]?.start;
  const end = verdict.ranges.at(-1)?.end;
  return (
    <article className="oc-card" aria-label={`Validation of ${name}`}>
      <div className="oc-card-head">
        <h2>
          {name} <StateBadge state={verdict.passed ? "passed" : "failed"} />
        </h2>
        <label className="oc-inline">
          Validation
          <select value={keyOf(verdict)} onChange={(event) => setChosen(event.target.value)}>
            {verdicts.map((item) => (
              <option key={keyOf(item)} value={keyOf(item)}>
                {formatIso(item.at, zone)}, {item.passed ? "passed" : "failed"}
              </option>
            ))}
          </select>
        </label>
      </div>
      <p>
        {formatNumberOf(verdict.candles, "candle")} compared with {formatNumberOf(verdict.trades, "trade")}:{" "}
        {formatNumberOf(verdict.failures, "failure")}, {formatNumberOf(verdict.warnings, "warning")}.{" "}
        <RunLink dagId={verdict.dag_id} runId={verdict.run_id}>
          Run
        </RunLink>
      </p>
      <ul className="oc-ranges">
        {verdict.ranges.map((range) => (
          <li key={range.start}>
            {formatIso(range.start, zone)} – {formatIso(range.end, zone)}
          </li>
        ))}
      </ul>
      <Rules rules={verdict.rules} />
      {verdict.findings.length > 0 && (
        <Findings findings={verdict.findings} total={verdict.failures + verdict.warnings} zone={zone} onOpen={onOpen} />
      )}
      {verdict.notes.map((note) => (
        <p key={note} className="oc-muted">
          {note}
        </p>
      ))}
      {start && end && (
        <p>
          <button type="button" onClick={() => onRebuild({ start, end, timeframe: name })}>
            Rebuild this range …
          </button>
        </p>
      )}
    </article>
  );
}

function keyOf(verdict: Verdict): string {
  return `${verdict.dag_id} ${verdict.run_id} ${verdict.map_index} ${verdict.at}`;
}
