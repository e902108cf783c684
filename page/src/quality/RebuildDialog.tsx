import { type FormEvent, useEffect, useRef, useState } from "react";
import { ApiError, triggerRebuild } from "../api/client";
import { Notice } from "../shared/Notice";
import { RunLink } from "../shared/RunLink";
import { fromInput, toInput, toIso, toSeconds } from "../shared/times";
import { utcDays } from "./rebuildDays";

export interface RebuildRange {
  start: string;
  end: string;
  timeframe: string;
}

interface RebuildDialogProps {
  range: RebuildRange;
  timeframes: string[];
  close: () => void;
}

type Result = { runId: string } | { error: string };

/** Triggers the DAG that rebuilds whole UTC days, with the rights of the user, after a confirmation. */
export function RebuildDialog({ range, timeframes, close }: RebuildDialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [from, setFrom] = useState(toInput(toSeconds(range.start), "utc"));
  const [to, setTo] = useState(toInput(toSeconds(range.end), "utc"));
  const [chosen, setChosen] = useState([range.timeframe]);
  const [dryRun, setDryRun] = useState(true);
  const [confirmed, setConfirmed] = useState(false);
  const [sending, setSending] = useState(false);
  const [result, setResult] = useState<Result | null>(null);
  useEffect(() => dialog.current?.showModal(), []);

  const start = fromInput(from, "utc");
  const end = fromInput(to, "utc");
  const days = utcDays(start, end);
  const ready = days !== null && chosen.length > 0 && (dryRun || confirmed) && !sending && !isStarted(result);
  const toggle = (name: string) => {
    const next = chosen.includes(name) ? chosen.filter((item) => item !== name) : [...chosen, name];
    setChosen(timeframes.filter((item) => next.includes(item)));
  };
  const send = async (event: FormEvent) => {
    event.preventDefault();
    if (!ready || start === null || end === null) return;
    setSending(true);
    try {
      const conf = { start: toIso(start), end: toIso(end), timeframes: chosen, dry_run: dryRun };
      setResult({ runId: await triggerRebuild(conf) });
    } catch (error) {
      setResult({ error: reasonOf(error) });
    }
    setSending(false);
  };
  return (
    <dialog ref={dialog} className="oc-dialog" onClose={close} aria-labelledby="oc-rebuild-title">
      <h2 id="oc-rebuild-title">Rebuild a range</h2>
      <form onSubmit={send}>
        <p className="oc-muted">
          The DAG ohlcv_reprocess rebuilds whole UTC days from the trades and validates them. You need the right to
          trigger it.
        </p>
        <div className="oc-row">
          <label className="oc-field">
            <span>From (UTC)</span>
            <input type="datetime-local" value={from} onChange={(event) => setFrom(event.target.value)} />
          </label>
          <label className="oc-field">
            <span>To (UTC, exclusive)</span>
            <input type="datetime-local" value={to} onChange={(event) => setTo(event.target.value)} />
          </label>
        </div>
        <fieldset className="oc-field">
          <legend>Timeframes</legend>
          <div className="oc-row">
            {timeframes.map((name) => (
              <label className="oc-check" key={name}>
                <input type="checkbox" checked={chosen.includes(name)} onChange={() => toggle(name)} />
                {name}
              </label>
            ))}
          </div>
        </fieldset>
        <label className="oc-check">
          <input type="checkbox" checked={dryRun} onChange={(event) => setDryRun(event.target.checked)} />
          Dry run: write nothing, the task log shows what would change
        </label>
        <p>
          {days
            ? `Rebuilds ${days.count} ${days.count === 1 ? "day" : "days"}: ${days.first}${days.count > 1 ? ` to ${days.last}` : ""}.`
            : "The end must be after the start."}
        </p>
        {!dryRun && (
          <label className="oc-check">
            <input type="checkbox" checked={confirmed} onChange={(event) => setConfirmed(event.target.checked)} />
            Write the rebuilt candles of {chosen.join(", ") || "no timeframe"}
          </label>
        )}
        {result && <ResultNotice result={result} />}
        <div className="oc-row oc-actions">
          <button type="button" onClick={() => dialog.current?.close()}>
            Close
          </button>
          <button type="submit" className="oc-primary" disabled={!ready}>
            {dryRun ? "Start the dry run" : "Rebuild"}
          </button>
        </div>
      </form>
    </dialog>
  );
}

function isStarted(result: Result | null): boolean {
  return result !== null && "runId" in result;
}

function ResultNotice({ result }: { result: Result }) {
  if ("error" in result) return <Notice kind="error">{result.error}</Notice>;
  return (
    <Notice kind="info">
      Started: <RunLink dagId="ohlcv_reprocess" runId={result.runId} />
    </Notice>
  );
}

export function reasonOf(error: unknown): string {
  if (error instanceof ApiError && error.status === 403) {
    return "Your user may not trigger ohlcv_reprocess. Ask somebody with the right to edit this DAG.";
  }
  if (error instanceof ApiError && error.status === 401) return "Your session has ended. Reload the page to log in.";
  if (error instanceof ApiError && error.status === 404) {
    return "There is no DAG ohlcv_reprocess that you may see. Ask an administrator of Airflow.";
  }
  return error instanceof Error ? error.message : String(error);
}
