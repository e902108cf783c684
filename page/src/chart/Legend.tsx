import { formatIso, formatTime, localZoneName, type Zone } from "../shared/times";
import { legendValues } from "./legendValues";
import type { Hover } from "./sessionEvents";

interface LegendProps {
  hover: Hover | null;
  index: number;
  zone: Zone;
  loading: boolean;
}

/** Exact values of the window at the crosshair, or of the newest one. */
export function Legend({ hover, index, zone, loading }: LegendProps) {
  const drawn = hover?.candles[index];
  const candle = drawn?.candle;
  const values = candle ? legendValues(candle, zone) : [];
  return (
    <div className="oc-legend" aria-live={hover?.crosshair ? "polite" : "off"}>
      <div className="oc-legend-time">
        {hover?.time != null && (
          <span title={zone === "local" ? localZoneName() : undefined}>
            {formatTime(hover.time, zone)}
            {candle && ` – ${formatIso(candle.window_end, zone)}`}
          </span>
        )}
        {drawn?.provisional && <span className="oc-badge oc-provisional">provisional</span>}
        {hover?.time != null && !drawn && !loading && <span className="oc-muted">no trades</span>}
        {loading && <span className="oc-muted">loading …</span>}
      </div>
      <dl>
        {values.map(([name, value, exact]) => (
          <div key={name} title={exact}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </div>
  );
}
