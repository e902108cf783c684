import { readCoverage } from "../api/client";
import type { CoverageAnswer } from "../api/types";
import { type Selection, SPANS } from "../selection";
import { toSeconds } from "../shared/times";
import { spanOf, spanParameters } from "./axis";

/** Series of one page. */
const LIMIT = 200;

/**
 * Return the coverage of the selected range. The newest one ends with the newest counted hour, which the last answer has
 * told.
 */
export async function readSpan(
  selection: Selection,
  countedUntil: string | null,
  signal: AbortSignal,
): Promise<CoverageAnswer> {
  const hours = SPANS.find(([name]) => name === selection.span)?.[1] ?? 24;
  const read = (until: number) =>
    readCoverage(
      {
        ...spanParameters(spanOf(hours, until)),
        exchange: selection.coverageExchange ?? undefined,
        search: selection.search ?? undefined,
        limit: LIMIT,
        cursor: selection.cursor ?? undefined,
      },
      signal,
    );
  if (selection.until !== null) return read(selection.until);
  const expected = countedUntil === null ? Math.floor(Date.now() / 1000) : toSeconds(countedUntil);
  const answer = await read(expected);
  const { counted_until: counted, end } = answer;
  // The last recording was earlier, or there was another one since the last answer.
  return counted === null || counted === end ? answer : read(toSeconds(counted));
}
