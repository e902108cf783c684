import { useCallback, useEffect, useMemo } from "react";
import { useSearchParams } from "react-router-dom";
import { readTimeframes } from "./api/client";
import type { TimeframeInfo } from "./api/types";
import { ChartTab } from "./chart/ChartTab";
import { CoverageTab } from "./coverage/CoverageTab";
import { PipelineTab } from "./pipeline/PipelineTab";
import { QualityTab } from "./quality/QualityTab";
import { DEFAULTS, parseSelection, type Selection, TABS, type Tab, withSelection } from "./selection";
import { useLoaded } from "./shared/hooks";
import { ErrorNotice, Notice } from "./shared/Notice";

/** Properties that Airflow gives to a plugin's component. In the navigation all are undefined. */
export interface PageProps {
  dagId?: string;
}

/** Change parts of the selection. A replaced entry of the history is not a step of the back button. */
export type Select = (change: Partial<Selection>, options?: { replace?: boolean }) => void;

const TITLES: Record<Tab, string> = { chart: "Chart", pipeline: "Pipeline", quality: "Quality", coverage: "Coverage" };

/** Whether Airflow has rendered the component before. */
let rendered = false;

export function CandlesPage({ dagId }: PageProps) {
  const [, setQuery] = useSearchParams();
  useEffect(() => {
    // Airflow renders a plugin by React.lazy until the next change of the address, and directly from then on. This
    // replaces the whole page once. An equal address does it before a user could lose the focus.
    if (!rendered) setQuery((current) => current, { replace: true });
    rendered = true;
  }, [setQuery]);
  const { data, error, reload } = useLoaded("timeframes", readTimeframes);
  return (
    <div className="oc-page">
      {error !== null && <ErrorNotice error={error} retry={reload} />}
      {!data && error === null && <p className="oc-muted">Loading …</p>}
      {data && <Timeframes all={data.timeframes} dagId={dagId} />}
    </div>
  );
}

function Timeframes({ all, dagId }: { all: TimeframeInfo[]; dagId?: string }) {
  const ofDag = all.find((timeframe) => timeframe.dag_id === dagId);
  if (dagId && !ofDag) {
    return (
      <Notice kind="info">The DAG {dagId} builds no candles. Open a candle DAG, or Candles in the navigation.</Notice>
    );
  }
  if (all.length === 0) {
    return <Notice kind="info">You may not read a candle DAG. Ask an administrator of Airflow for access.</Notice>;
  }
  const usual = ofDag ?? all.find((timeframe) => timeframe.name === "1h") ?? (all[0] as TimeframeInfo);
  return <Tabs timeframes={all} usual={usual.name} />;
}

function Tabs({ timeframes, usual }: { timeframes: TimeframeInfo[]; usual: string }) {
  const [query, setQuery] = useSearchParams();
  const selection = useMemo(() => parseSelection(query), [query]);
  const select = useCallback<Select>(
    (change, options) => {
      // The address is newer than the router's state while React has not yet rendered the last change.
      const current = new URLSearchParams(window.location.search);
      setQuery(withSelection(current, { ...parseSelection(current), ...change }), options);
    },
    [setQuery],
  );
  const known = timeframes.some((timeframe) => timeframe.name === selection.timeframe);
  const timeframe = known && selection.timeframe ? selection.timeframe : usual;
  return (
    <>
      <header className="oc-header">
        <h1>Candles</h1>
        <nav className="oc-tabs" aria-label="Views of the candles">
          {TABS.map((tab) => (
            <button
              key={tab}
              type="button"
              aria-current={tab === selection.tab ? "page" : undefined}
              onClick={() => select({ tab })}
            >
              {TITLES[tab]}
            </button>
          ))}
        </nav>
        {(selection.tab === "chart" || selection.tab === "coverage") && (
          <button type="button" className="oc-quiet" onClick={() => select({ ...DEFAULTS, tab: selection.tab })}>
            Reset
          </button>
        )}
      </header>
      {selection.timeframe !== null && !known && (
        <Notice kind="warning" action={{ label: `Show ${usual}`, run: () => select({ timeframe: null }) }}>
          There is no timeframe {selection.timeframe.slice(0, 20)} that you may read.
        </Notice>
      )}
      {selection.tab === "chart" && (
        <ChartTab timeframes={timeframes} timeframe={timeframe} selection={selection} select={select} />
      )}
      {selection.tab === "pipeline" && <PipelineTab zone={selection.zone} />}
      {selection.tab === "coverage" && (
        <CoverageTab timeframes={timeframes} timeframe={timeframe} selection={selection} select={select} />
      )}
      {selection.tab === "quality" && <QualityTab timeframes={timeframes} zone={selection.zone} select={select} />}
    </>
  );
}
