import { type KeyboardEvent, type PointerEvent, useEffect, useMemo, useRef, useState } from "react";
import type { CoverageSeries } from "../api/types";
import type { Zone } from "../shared/times";
import { ticksOf } from "./axis";
import { CURSOR_ID, HeatRow } from "./HeatRow";
import { movedCell, type Position } from "./moves";
import { cellWidth } from "./paths";

interface HeatMapProps {
  series: CoverageSeries[];
  /** Starts of the hours, in seconds. */
  hours: number[];
  zone: Zone;
  cursor: Position | null;
  onMove: (position: Position) => void;
  /** The pointer is over a cell, or over none. */
  onPoint: (position: Position | null) => void;
  onOpen: (position: Position) => void;
  onLeave: () => void;
}

/** Series by hour. The grid has the focus, and only the cell of the cursor is an element. */
export function HeatMap(props: HeatMapProps) {
  const { series, hours, zone, cursor, onMove, onPoint, onOpen, onLeave } = props;
  const box = useRef<HTMLDivElement>(null);
  const pointed = useRef("");
  const width = useWidth(box);
  const names = width < 620 ? 118 : 190;
  const cell = cellWidth(width - names, hours.length);
  const ticks = useMemo(() => ticksOf(hours, cell, zone), [hours, cell, zone]);

  const onKeyDown = (event: KeyboardEvent) => {
    const moved = movedCell(cursor, event, series.length, hours.length);
    if (moved) onMove(moved);
    else if (event.key === "Enter" && cursor) onOpen(cursor);
    else if (event.key === "Escape") onLeave();
    else return;
    event.preventDefault();
    point(null);
  };
  const point = (position: Position | null) => {
    const key = JSON.stringify(position);
    if (key !== pointed.current) onPoint(position);
    pointed.current = key;
  };
  const at = (event: PointerEvent | React.MouseEvent): Position | null => {
    const cells = (event.target as Element).closest<HTMLElement>("[data-row]");
    if (!cells) return null;
    const column = Math.floor((event.clientX - cells.getBoundingClientRect().left) / cell);
    return column < 0 || column >= hours.length ? null : { row: Number(cells.dataset.row), column };
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: the cursor has moved.
  useEffect(() => {
    document.getElementById(CURSOR_ID)?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [cursor?.row, cursor?.column, cell]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: only another range or width scrolls.
  useEffect(() => {
    // A long range opens at its newest hours.
    if (box.current && !cursor) box.current.scrollLeft = cell * hours.length;
  }, [cell, hours.length]);

  return (
    <div className="oc-heat" ref={box}>
      {/* biome-ignore lint/a11y/useSemanticElements: a table would need an element per cell. */}
      <div
        role="grid"
        tabIndex={0}
        aria-label={`Coverage of ${series.length} series in ${hours.length} hours. Arrow keys move, Enter opens the chart.`}
        aria-rowcount={series.length}
        aria-colcount={hours.length}
        aria-activedescendant={cursor ? CURSOR_ID : undefined}
        style={{ "--oc-names": `${names}px`, width: names + cell * hours.length } as React.CSSProperties}
        onKeyDown={onKeyDown}
        onPointerMove={(event) => point(at(event))}
        onPointerLeave={() => point(null)}
        onClick={(event) => {
          const position = at(event);
          if (position) onMove(position);
        }}
        onDoubleClick={(event) => {
          const position = at(event);
          if (position) onOpen(position);
        }}
      >
        <div className="oc-heat-axis" aria-hidden="true">
          {ticks.map(({ column, text }) => (
            <span key={column} style={{ left: names + column * cell }}>
              {text}
            </span>
          ))}
        </div>
        <div className="oc-heat-lines" aria-hidden="true">
          {ticks.map(({ column }) => (
            <i key={column} style={{ left: names + column * cell }} />
          ))}
        </div>
        {series.map((each, row) => (
          <HeatRow
            key={`${each.exchange} ${each.symbol}`}
            series={each}
            row={row}
            hours={hours}
            cell={cell}
            zone={zone}
            cursor={cursor?.row === row ? cursor.column : null}
          />
        ))}
      </div>
    </div>
  );
}

/** Return the inner width of an element. */
function useWidth(box: React.RefObject<HTMLElement | null>): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.observe(element);
    return () => observer.disconnect();
  }, [box]);
  return width;
}
