import { useRef } from "react";
import type { CoverageAnswer, TimeframeInfo } from "../api/types";
import type { Select } from "../CandlesPage";
import type { Selection } from "../selection";
import { useLoaded } from "../shared/hooks";
import { ErrorNotice, Notice } from "../shared/Notice";
import { formatNumberOf } from "../shared/numbers";
import { CoverageToolbar } from "./CoverageToolbar";
import { CoverageView } from "./CoverageView";
import { readSpan } from "./readSpan";
import { hasProblem } from "./summary";

const REFRESH_MILLISECONDS = 300_000;

interface CoverageTabProps {
  timeframes: TimeframeInfo[];
  timeframe: string;
  selection: Selection;
  select: Select;
}

/** What is known of the trades: a heat map of series by hour. */
export function CoverageTab({ timeframes, timeframe, selection, select }: CoverageTabProps) {
  const { span, until, coverageExchange, search, cursor } = selection;
  const key = JSON.stringify([span, until, coverageExchange, search, cursor]);
  // The last answer stays while another one loads: the map would lose the focus.
  const latest = useRef<CoverageAnswer | null>(null);
  const { data, error, loading, reload } = useLoaded(
    key,
    (signal) => readSpan(selection, latest.current?.counted_until ?? null, signal),
    () => REFRESH_MILLISECONDS,
  );
  latest.current = data ?? latest.current;
  const answer = latest.current;

  if (!answer) {
    return error === null ? <p className="oc-muted">Loading …</p> : <ErrorNotice error={error} retry={reload} />;
  }
  if (answer.counted_until === null) {
    return (
      <Notice kind="info" action={{ label: "Retry", run: reload }}>
        No coverage is recorded yet: the DAG ohlcv_coverage does so every hour. Unpause it, or run ohlcv coverage
        record.
      </Notice>
    );
  }
  const shown = selection.problems ? answer.series.filter(hasProblem) : answer.series;
  return (
    <section className="oc-coverage" aria-label="Coverage" aria-busy={loading}>
      <CoverageToolbar answer={answer} timeframe={timeframe} selection={selection} select={select} />
      <div className="oc-notices">
        {error !== null && <ErrorNotice error={error} retry={reload} />}
        {answer.pending_hours > 0 && (
          <Notice kind="warning">
            {formatNumberOf(answer.pending_hours, "hour")} with changed trades{" "}
            {answer.pending_hours === 1 ? "is" : "are"} not counted yet. The next runs of the DAG ohlcv_coverage count
            them.
          </Notice>
        )}
      </div>
      {shown.length === 0 ? (
        <Notice kind="info">{reasonOfNoSeries(answer, selection)}</Notice>
      ) : (
        <CoverageView
          answer={answer}
          series={shown}
          timeframe={timeframe}
          step={timeframes.find((item) => item.name === timeframe)?.seconds ?? 3600}
          selection={selection}
          select={select}
        />
      )}
    </section>
  );
}

function reasonOfNoSeries(answer: CoverageAnswer, selection: Selection): string {
  if (answer.series.length > 0) return "No series here has a problem in these hours.";
  if (selection.search || selection.coverageExchange) return "No series fits the filters in these hours.";
  return "There is no series with trades in these hours, and none is expected.";
}
