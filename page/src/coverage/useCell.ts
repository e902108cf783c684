import { useCallback, useEffect, useRef, useState } from "react";
import type { Select } from "../CandlesPage";
import type { Cell } from "../selection";

/** Browsers limit how often a page may change its address. */
const URL_DELAY = 400;

/** Return the cell of the cursor, and how to move it. The address follows when the cursor rests. */
export function useCell(selected: Cell | null, select: Select): [Cell | null, (cell: Cell | null) => void] {
  const [cell, setCell] = useState(selected);
  const written = useRef(JSON.stringify(selected));
  const timer = useRef(0);
  const key = JSON.stringify(selected);
  // A change of the address by a link or the back button moves the cursor; its own writing does not.
  useEffect(() => {
    if (key !== written.current) setCell(JSON.parse(key));
    written.current = key;
  }, [key]);
  useEffect(() => () => window.clearTimeout(timer.current), []);
  const move = useCallback(
    (next: Cell | null) => {
      setCell(next);
      window.clearTimeout(timer.current);
      timer.current = window.setTimeout(() => {
        written.current = JSON.stringify(next);
        select({ cell: next }, { replace: true });
      }, URL_DELAY);
    },
    [select],
  );
  return [cell, move];
}
