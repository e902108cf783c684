// biome-ignore-all lint/a11y/useSemanticElements: a table would need an element per cell.
// biome-ignore-all lint/a11y/useFocusableInteractive: the grid has the focus, and names the active cell.

import { memo, useMemo } from "react";
import type { CoverageSeries } from "../api/types";
import { formatTime, type Zone } from "../shared/times";
import { barsPath } from "./paths";
import { NOTE_BAR, ROW_HEIGHT, STATES } from "./states";
import { describeHour, nameOf } from "./summary";

/** The element of the cell that has the cursor. */
export const CURSOR_ID = "oc-heat-cursor";

interface HeatRowProps {
  series: CoverageSeries;
  row: number;
  hours: number[];
  /** Pixels of an hour. */
  cell: number;
  zone: Zone;
  /** Column of the cursor, if it is in this row. */
  cursor: number | null;
}

/** One series: its name, and one path per state. */
export const HeatRow = memo(function HeatRow({ series, row, hours, cell, zone, cursor }: HeatRowProps) {
  const name = nameOf(series);
  const width = hours.length * cell;
  const paths = useMemo(() => {
    const grid = { hours: hours.length, cell };
    const states = Object.entries(STATES).map(([state, style]) => ({
      name: style.name,
      path: barsPath(grid, style.bars, (column) => series.states[column] === state),
    }));
    const notes = barsPath(grid, [NOTE_BAR], (column) => (series.notes[column]?.length ?? 0) > 0);
    return [...states, { name: "note", path: notes }].filter(({ path }) => path);
  }, [series, hours.length, cell]);
  return (
    <div role="row" className="oc-heat-row" aria-rowindex={row + 1}>
      <div role="rowheader" className="oc-heat-name" title={name}>
        {name}
      </div>
      <div className="oc-heat-cells" data-row={row} style={{ width }}>
        <svg width={width} height={ROW_HEIGHT} aria-hidden="true">
          {paths.map(({ name: each, path }) => (
            <path key={each} className={`oc-state-${each}`} d={path} />
          ))}
        </svg>
        {cursor !== null && (
          <div
            role="gridcell"
            id={CURSOR_ID}
            className="oc-heat-cursor"
            aria-colindex={cursor + 1}
            aria-selected="true"
            aria-label={describeHour(series, cursor, formatTime(hours[cursor] ?? 0, zone))}
            style={{ left: cursor * cell, width: cell + 6 }}
          />
        )}
      </div>
    </div>
  );
});
