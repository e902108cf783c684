import { type KeyboardEvent, useEffect, useRef } from "react";
import { readHistory } from "../api/client";
import type { Version } from "../api/types";
import { useLoaded } from "../shared/hooks";
import { ErrorNotice, Notice } from "../shared/Notice";
import { formatCount, formatDecimal } from "../shared/numbers";
import { RunLink } from "../shared/RunLink";
import { formatIso, type Zone } from "../shared/times";
import type { SeriesKey } from "./bounds";
import { changeText, reasonText, triggerText } from "./history";

export interface PickedCandle {
  series: SeriesKey;
  timeframe: string;
  /** Start of the window, as the API writes it. */
  start: string;
}

interface CandleHistoryProps {
  picked: PickedCandle;
  zone: Zone;
  onClose: () => void;
}

/** The versions of a candle: what readers saw, from when, why, and by which run. */
export function CandleHistory({ picked, zone, onClose }: CandleHistoryProps) {
  const { series, timeframe, start } = picked;
  const parameters = { timeframe, ...series, time: start };
  const { data, error, reload } = useLoaded(JSON.stringify(parameters), (signal) => readHistory(parameters, signal));
  const section = useRef<HTMLElement>(null);
  const title = `Versions of ${series.symbol} · ${series.exchange}, ${timeframe}, ${formatIso(start, zone)}`;
  // biome-ignore lint/correctness/useExhaustiveDependencies: the versions of another candle are shown.
  useEffect(() => {
    // Newer browsers return a promise, which an effect may not return.
    section.current?.scrollIntoView({ block: "nearest" });
  }, [title, data, error]);
  const onKeyDown = (event: KeyboardEvent) => event.key === "Escape" && onClose();
  return (
    <section className="oc-history" aria-label={title} aria-live="polite" onKeyDown={onKeyDown} ref={section}>
      <div className="oc-pane-head">
        <h2>{title}</h2>
        <button type="button" onClick={onClose}>
          Close
        </button>
      </div>
      {error !== null && <ErrorNotice error={error} retry={reload} />}
      {!data && error === null && <p className="oc-muted">Loading …</p>}
      {data?.versions.length === 0 && (
        <Notice kind="info">The ledger has not recorded this candle yet. It does so every hour.</Notice>
      )}
      {data && data.versions.length > 0 && <Versions versions={data.versions} zone={zone} />}
      {data?.known_until && (
        <p className="oc-muted">Publications from {formatIso(data.known_until, zone)} on are not recorded yet.</p>
      )}
    </section>
  );
}

const NUMBERS = ["Open", "High", "Low", "Close", "Volume", "Trades"];

function Versions({ versions, zone }: { versions: Version[]; zone: Zone }) {
  return (
    <div className="oc-table">
      <table>
        <thead>
          <tr>
            <th scope="col">Visible from</th>
            <th scope="col">Change</th>
            <th scope="col" className="oc-wide">
              Why
            </th>
            {NUMBERS.map((name) => (
              <th key={name} scope="col" className="oc-number">
                {name}
              </th>
            ))}
            <th scope="col" className="oc-wide">
              Run
            </th>
          </tr>
        </thead>
        <tbody>
          {versions.map((version, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: a candle that is stored twice has two equal rows.
            <tr key={index}>
              <th scope="row" title={`publication ${version.publication}, ${version.visible_at}`}>
                {formatIso(version.visible_at, zone)}
              </th>
              <td>{changeText(version)}</td>
              <td>{reasonText(version, zone)}</td>
              <td className="oc-number">{formatDecimal(version.open_price, 2)}</td>
              <td className="oc-number">{formatDecimal(version.high_price, 2)}</td>
              <td className="oc-number">{formatDecimal(version.low_price, 2)}</td>
              <td className="oc-number">{formatDecimal(version.close_price, 2)}</td>
              <td className="oc-number">{formatDecimal(version.volume)}</td>
              <td className="oc-number">{formatCount(version.trade_count)}</td>
              <td>
                {version.dag_id && version.run_id ? (
                  <RunLink dagId={version.dag_id} runId={version.run_id} />
                ) : (
                  triggerText(version)
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
