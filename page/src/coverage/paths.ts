/** Drawing of a row: one path per state, whatever the number of hours. */

/** Number of hours, and the pixels of each. */
export interface Grid {
  hours: number;
  cell: number;
}

const MIN_CELL = 2;
const MAX_CELL = 48;
/** Narrower cells have no space between them. */
const SPACED_CELL = 5;

/** Return the whole pixels of an hour, so that all cells are equal and none vanishes. A long range is scrolled. */
export function cellWidth(width: number, hours: number): number {
  return Math.min(MAX_CELL, Math.max(MIN_CELL, Math.floor(width / Math.max(1, hours))));
}

/** Return the ranges of columns that have a property. Neighbours are merged where nothing is between the cells. */
function runs(grid: Grid, has: (column: number) => boolean): [number, number][] {
  const found: [number, number][] = [];
  for (let column = 0; column < grid.hours; column += 1) {
    if (!has(column)) continue;
    const last = found.at(-1);
    if (last && last[1] === column && grid.cell < SPACED_CELL) last[1] = column + 1;
    else found.push([column, column + 1]);
  }
  return found;
}

/** Return the path of the bars of all columns that have a property. */
export function barsPath(grid: Grid, bars: [number, number][], has: (column: number) => boolean): string {
  const space = grid.cell < SPACED_CELL ? 0 : 1;
  const parts: string[] = [];
  for (const [first, end] of runs(grid, has)) {
    const width = (end - first) * grid.cell - space;
    for (const [top, bottom] of bars) {
      parts.push(`M${first * grid.cell} ${top}h${width}v${bottom - top}h${-width}z`);
    }
  }
  return parts.join("");
}
