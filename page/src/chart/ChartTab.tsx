import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { readSeries } from "../api/client";
import type { SeriesRange, TimeframeInfo } from "../api/types";
import type { Select } from "../CandlesPage";
import { RANGES, type Selection } from "../selection";
import { useLoaded } from "../shared/hooks";
import { ErrorNotice, Notice } from "../shared/Notice";
import { formatDuration } from "../shared/times";
import type { SeriesKey } from "./bounds";
import { ChartHelp } from "./ChartHelp";
import { ChartPanes } from "./ChartPanes";
import { chosenSeries } from "./choice";
import type { ChartSession } from "./session";
import type { SessionState } from "./sessionEvents";
import { Toolbar } from "./Toolbar";
import type { Target } from "./target";

interface ChartTabProps {
  timeframes: TimeframeInfo[];
  timeframe: string;
  selection: Selection;
  select: Select;
}

const URL_DELAY = 400;

export function ChartTab({ timeframes, timeframe, selection, select }: ChartTabProps) {
  const [search, setSearch] = useState("");
  const series = useLoaded(`${timeframe} ${search}`, (signal) => readSeries(timeframe, search || undefined, signal));
  const [state, setState] = useState<SessionState | null>(null);
  const session = useRef<ChartSession | null>(null);

  // The last list stays while another one loads: a control that is removed would lose the focus.
  const latest = useRef<SeriesRange[] | undefined>(undefined);
  latest.current = series.data?.series ?? latest.current;
  const ranges = latest.current;
  const shown = useRef<SeriesKey | null>(null);
  const chosen = chosenSeries(selection, ranges ?? [], search ? shown.current : null);
  shown.current = chosen ?? shown.current;
  const symbol = chosen?.symbol ?? null;
  const exchange = chosen?.exchange ?? null;
  const exchanges = useMemo(
    () => [...new Set((ranges ?? []).filter((item) => item.symbol === symbol).map((item) => item.exchange))],
    [ranges, symbol],
  );
  const compare = selection.compare !== exchange ? selection.compare : null;
  const keys = useMemo<SeriesKey[]>(() => {
    if (!symbol || !exchange) return [];
    return [exchange, ...(compare ? [compare] : [])].map((name) => ({ symbol, exchange: name }));
  }, [symbol, exchange, compare]);

  // A part of a long list does not show what is missing, but the chart has asked for its series.
  const listed = (key: SeriesKey) =>
    ranges?.some((item) => item.symbol === key.symbol && item.exchange === key.exchange);
  const complete = ranges !== undefined && !series.data?.truncated && !search;
  const missing = keys.filter((key) => (complete ? !listed(key) : state?.noData));

  const written = useUrlOfView(state, selection, select);
  const target = targetOf(selection);
  const targetKey = JSON.stringify(target);
  // A change of the URL by a link or the back button moves the chart; its own writing does not.
  useEffect(() => {
    if (targetKey !== written.current) session.current?.show(JSON.parse(targetKey));
    written.current = targetKey;
  }, [targetKey, written]);

  const retry = useCallback(() => session.current?.retry(), []);
  if (series.error !== null && !ranges) return <ErrorNotice error={series.error} retry={series.reload} />;
  if (!ranges) return <p className="oc-muted">Loading …</p>;
  if (keys.length === 0) {
    return (
      <Notice kind="info">
        {selection.symbol
          ? `There are no ${timeframe} candles of ${selection.symbol.slice(0, 60)}.`
          : `There are no ${timeframe} candles yet. They appear after the first run of the DAG.`}
      </Notice>
    );
  }
  return (
    <section className="oc-chart" aria-label="Chart">
      <Toolbar
        timeframes={timeframes}
        timeframe={timeframe}
        series={ranges}
        symbol={symbol as string}
        exchanges={exchanges}
        exchange={exchange as string}
        compare={compare}
        selection={selection}
        view={state?.view ?? null}
        onSearch={series.data?.truncated || search ? setSearch : undefined}
        select={select}
      />
      <div className="oc-notices">
        {state?.error ? <ErrorNotice error={state.error} retry={retry} /> : null}
        {state?.staleSeconds != null && (
          <Notice kind="warning">
            The catalog cannot be reached. The candles are {formatDuration(state.staleSeconds)} old.
          </Notice>
        )}
        {missing.length > 0 && (
          <Notice kind="info">
            There are no {timeframe} candles of {missing.map((key) => `${key.symbol} on ${key.exchange}`).join(" and ")}
            .
          </Notice>
        )}
      </div>
      <ChartPanes
        keys={keys}
        timeframes={timeframes}
        timeframe={timeframe}
        target={target}
        log={selection.log}
        zone={selection.zone}
        state={state}
        onState={setState}
        session={session}
      />
      <ChartHelp />
    </section>
  );
}

function targetOf(selection: Selection): Target {
  const { start, end, at } = selection;
  if (start !== null && end !== null) return { from: start, to: end, ...(at === null ? {} : { at }) };
  return { newest: RANGES.find(([name]) => name === selection.range)?.[1] ?? null };
}

/** Write the view into the URL when it rests. Return the target that the chart itself wrote last. */
function useUrlOfView(state: SessionState | null, selection: Selection, select: Select) {
  const written = useRef(JSON.stringify(targetOf(selection)));
  const from = state?.view && Math.round(state.view.from);
  const to = state?.view && Math.round(state.view.to);
  const moved = state?.moved ?? false;
  useEffect(() => {
    if (!from || !to || !moved) return undefined;
    const timer = window.setTimeout(() => {
      written.current = JSON.stringify({ from, to });
      select({ start: from, end: to, at: null, range: null }, { replace: true });
    }, URL_DELAY);
    return () => window.clearTimeout(timer);
  }, [from, to, moved, select]);
  return written;
}
