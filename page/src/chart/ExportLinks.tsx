import { useState } from "react";
import { apiUrl, readAllCandles } from "../api/client";
import { toIso } from "../shared/times";
import type { SeriesKey } from "./bounds";
import { selectionOf } from "./candleData";
import { type Step, type View, windowsOf } from "./frame";

interface ExportProps {
  series: SeriesKey;
  timeframe: Step;
  view: View;
}

/** Downloads of the candles in view. */
export function ExportLinks({ series, timeframe, view }: ExportProps) {
  const [state, setState] = useState<"idle" | "busy" | string>("idle");
  const { from, to } = windowsOf(view, timeframe.seconds);
  const range = { ...selectionOf(timeframe), ...series, start: toIso(from), end: toIso(to) };
  const name = `${series.exchange}-${series.symbol}-${timeframe.name}`.replace(/[^\w.-]+/g, "_");
  const downloadJson = async () => {
    setState("busy");
    try {
      save(`${name}.json`, JSON.stringify(await readAllCandles(range), null, 1));
      setState("idle");
    } catch (error) {
      setState(error instanceof Error ? error.message : String(error));
    }
  };
  return (
    <div className="oc-export">
      <span className="oc-muted">{state === "busy" ? "Exporting …" : state === "idle" ? "Export" : state}</span>
      <a className="oc-button" href={apiUrl("candles", { ...range, format: "csv" })} download={`${name}.csv`}>
        CSV
      </a>
      <button type="button" onClick={downloadJson} disabled={state === "busy"}>
        JSON
      </button>
    </div>
  );
}

function save(name: string, text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = name;
  link.click();
  // The download has begun when this task ends.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
