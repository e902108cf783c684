import { type KeyboardEvent, type RefObject, useEffect, useRef, useState } from "react";
import type { TimeframeInfo } from "../api/types";
import { Notice } from "../shared/Notice";
import type { Zone } from "../shared/times";
import type { SeriesKey } from "./bounds";
import { CandleHistory, type PickedCandle } from "./CandleHistory";
import { ExportLinks } from "./ExportLinks";
import { pressKey } from "./keys";
import { Legend } from "./Legend";
import { ChartSession } from "./session";
import type { Hover, SessionState } from "./sessionEvents";
import type { Target } from "./target";
import { watchColorMode } from "./theme";

interface ChartPanesProps {
  keys: SeriesKey[];
  timeframes: TimeframeInfo[];
  timeframe: string;
  target: Target;
  log: boolean;
  zone: Zone;
  state: SessionState | null;
  onState: (state: SessionState) => void;
  session: RefObject<ChartSession | null>;
}

/** One chart per series with a legend above, and the keys that move them. */
export function ChartPanes(props: ChartPanesProps) {
  const { keys, timeframes, timeframe, target, log, zone, state, onState, session } = props;
  const elements = useRef<(HTMLDivElement | null)[]>([]);
  const first = useRef({ timeframe, target });
  first.current = { timeframe, target };
  const [hover, setHover] = useState<Hover | null>(null);
  const [picked, setPicked] = useState<PickedCandle | null>(null);
  const identity = keys.map((key) => `${key.symbol} ${key.exchange}`).join("|");

  // biome-ignore lint/correctness/useExhaustiveDependencies: a session is of one set of series.
  useEffect(() => {
    const shown = elements.current.slice(0, keys.length).filter((element) => element !== null);
    const steps = timeframes.map(({ name, seconds, measures }) => ({ name, seconds, measures }));
    const created = new ChartSession(shown, keys, steps, first.current.timeframe, first.current.target, {
      onState,
      onHover: setHover,
      onPick: (series, name, start) => setPicked({ series, timeframe: name, start }),
    });
    session.current = created;
    const stop = watchColorMode(() => created.refreshTheme());
    return () => {
      stop();
      created.close();
      session.current = null;
      setPicked(null);
    };
  }, [identity, timeframes]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: a new session gets the settings, too.
  useEffect(() => session.current?.setLogScale(log), [log, identity]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: as above.
  useEffect(() => session.current?.setZone(zone), [zone, identity]);
  useEffect(() => session.current?.setTimeframe(timeframe), [timeframe, session]);

  const shown = timeframes.find((item) => item.name === state?.shown);
  const closeHistory = () => {
    setPicked(null);
    elements.current[keys.findIndex((key) => key.exchange === picked?.series.exchange)]?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (picked && event.key === "Escape") closeHistory();
    else if (session.current && pressKey(session.current, event)) event.preventDefault();
  };
  return (
    <>
      <div className="oc-panes" data-panes={keys.length}>
        {keys.map((key, index) => (
          <div className="oc-pane" key={key.exchange}>
            <div className="oc-pane-head">
              <h2>
                {key.symbol} · {key.exchange}
                {state?.shown && <span className="oc-badge">{state.shown}</span>}
                {state?.shown && state.shown !== timeframe && (
                  <span className="oc-muted"> {timeframe} when zoomed in</span>
                )}
              </h2>
              {state?.view && shown && <ExportLinks series={key} timeframe={shown} view={state.view} />}
            </div>
            <Legend hover={hover} index={index} zone={zone} loading={index === 0 && (state?.loading ?? true)} />
            <div className="oc-stack">
              <div
                className="oc-canvas"
                role="application"
                aria-label={`Candles of ${key.symbol} on ${key.exchange}. Arrow keys move the crosshair, the legend has the values, Enter shows the versions of the candle.`}
                // biome-ignore lint/a11y/noNoninteractiveTabindex: the chart is operated by keys.
                tabIndex={0}
                onKeyDown={onKeyDown}
                ref={(element) => {
                  elements.current[index] = element;
                }}
              />
              {state?.emptyView && !state.noData && (
                <div className="oc-over">
                  <Notice
                    kind="info"
                    action={{ label: "Go to the newest", run: () => session.current?.goTo("newest") }}
                  >
                    There are no candles in this range.
                  </Notice>
                </div>
              )}
            </div>
          </div>
        ))}
      </div>
      {picked && <CandleHistory picked={picked} zone={zone} onClose={closeHistory} />}
    </>
  );
}
