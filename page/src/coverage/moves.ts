/** What the keys of the heat map do. */

import type { Key } from "../chart/keys";

export interface Position {
  row: number;
  column: number;
}

const DAY = 24;
const PAGE = 10;

/** Return the cell after a key, or null if the key does not move. Without a cell, it is the first series' newest hour. */
export function movedCell(position: Position | null, event: Key, rows: number, columns: number): Position | null {
  if (event.altKey || event.metaKey || rows === 0 || columns === 0) return null;
  const last = { row: rows - 1, column: columns - 1 };
  const { row, column } = position ?? { row: 0, column: last.column };
  const hours = event.shiftKey ? DAY : 1;
  const wanted = {
    ArrowLeft: { row, column: column - hours },
    ArrowRight: { row, column: column + hours },
    ArrowUp: { row: row - 1, column },
    ArrowDown: { row: row + 1, column },
    PageUp: { row: row - PAGE, column },
    PageDown: { row: row + PAGE, column },
    Home: { row: event.ctrlKey ? 0 : row, column: 0 },
    End: { row: event.ctrlKey ? last.row : row, column: last.column },
  }[event.key];
  if (!wanted || (event.ctrlKey && event.key !== "Home" && event.key !== "End")) return null;
  if (!position && event.key.startsWith("Arrow")) return { row, column };
  return { row: within(wanted.row, last.row), column: within(wanted.column, last.column) };
}

function within(value: number, last: number): number {
  return Math.min(Math.max(value, 0), last);
}
