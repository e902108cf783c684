import { useMemo, useState } from "react";
import type { CoverageAnswer, CoverageSeries } from "../api/types";
import type { Select } from "../CandlesPage";
import { rangeAround } from "../chart/target";
import type { Selection } from "../selection";
import { formatIso, toSeconds } from "../shared/times";
import { CellDetails } from "./CellDetails";
import { HeatMap } from "./HeatMap";
import type { Position } from "./moves";
import { StateLegend } from "./StateLegend";
import { summaryOf } from "./summary";
import { useCell } from "./useCell";

interface CoverageViewProps {
  answer: CoverageAnswer;
  /** The series that are shown. */
  series: CoverageSeries[];
  timeframe: string;
  /** Seconds of the timeframe. */
  step: number;
  selection: Selection;
  select: Select;
}

/** The heat map, with the facts of the cell that is pointed at or has the cursor. */
export function CoverageView({ answer, series, timeframe, step, selection, select }: CoverageViewProps) {
  const hours = useMemo(() => answer.hours.map(toSeconds), [answer]);
  const [cell, setCell] = useCell(selection.cell, select);
  const [pointed, setPointed] = useState<Position | null>(null);
  const cursor = useMemo<Position | null>(() => {
    const row = series.findIndex((each) => each.exchange === cell?.exchange && each.symbol === cell.symbol);
    const column = hours.indexOf(cell?.hour ?? -1);
    return row < 0 || column < 0 ? null : { row, column };
  }, [series, hours, cell]);
  const move = ({ row, column }: Position | { row: -1; column: -1 }) => {
    const found = series[row];
    const hour = hours[column];
    setCell(found && hour !== undefined ? { exchange: found.exchange, symbol: found.symbol, hour } : null);
  };
  const open = ({ row, column }: Position) => {
    const found = series[row];
    const hour = hours[column];
    if (!found?.symbol || hour === undefined) return;
    const { symbol, exchange } = found;
    const around = rangeAround(hour, hour + 3600, step);
    // The back button returns to the cell.
    select({ cell: { exchange, symbol, hour } }, { replace: true });
    select({ tab: "chart", timeframe, symbol, exchange, compare: null, ...around });
  };
  const shown = pointed && series[pointed.row] ? pointed : cursor;
  const shownSeries = shown && series[shown.row];
  return (
    <>
      <p aria-live="polite">
        {summaryOf(series)}.{" "}
        <span className="oc-muted">
          {formatIso(answer.start, selection.zone)} – {formatIso(answer.end, selection.zone)}, counted until{" "}
          {formatIso(answer.counted_until, selection.zone)}.
        </span>
      </p>
      <StateLegend />
      <HeatMap
        series={series}
        hours={hours}
        zone={selection.zone}
        cursor={cursor}
        onMove={move}
        onPoint={setPointed}
        onOpen={open}
        onLeave={() => setCell(null)}
      />
      <CellDetails
        answer={answer}
        series={shownSeries ?? null}
        column={shown?.column ?? 0}
        zone={selection.zone}
        onOpen={shown && shownSeries?.symbol ? () => open(shown) : null}
      />
    </>
  );
}
