import { type FormEvent, useEffect, useRef, useState } from "react";
import { readSeries } from "../api/client";
import type { CoverageAnswer } from "../api/types";
import type { Select } from "../CandlesPage";
import { type Selection, SPANS } from "../selection";
import { useLoaded } from "../shared/hooks";
import { toSeconds } from "../shared/times";
import { ZoneField } from "../shared/ZoneField";
import { movedUntil } from "./axis";

interface CoverageToolbarProps {
  answer: CoverageAnswer;
  timeframe: string;
  selection: Selection;
  select: Select;
}

/** Range and filters of the heat map. */
export function CoverageToolbar({ answer, timeframe, selection, select }: CoverageToolbarProps) {
  const { coverageExchange, span, until, problems, cursor } = selection;
  const counted = toSeconds(answer.counted_until ?? answer.end);
  const shown = { start: toSeconds(answer.start), end: toSeconds(answer.end) };
  // Another range or filter begins at the first series: a cursor belongs to one request.
  const change = (part: Partial<Selection>) => select({ cursor: null, ...part });
  return (
    <div className="oc-toolbar">
      <fieldset className="oc-field">
        <legend>Range</legend>
        <div className="oc-group">
          {SPANS.map(([name]) => (
            <button key={name} type="button" aria-pressed={name === span} onClick={() => change({ span: name })}>
              {spanText(name)}
            </button>
          ))}
        </div>
      </fieldset>
      <div className="oc-group">
        <button type="button" onClick={() => change({ until: movedUntil(shown, -1, counted) })}>
          ← Previous
        </button>
        <button
          type="button"
          disabled={shown.end >= counted}
          onClick={() => change({ until: movedUntil(shown, 1, counted) })}
        >
          Next →
        </button>
        <button type="button" disabled={until === null} onClick={() => change({ until: null })}>
          Newest
        </button>
      </div>
      <ExchangeField answer={answer} timeframe={timeframe} exchange={coverageExchange} choose={change} />
      <SearchField text={selection.search ?? ""} search={(text) => change({ search: text || null })} />
      <label className="oc-check">
        <input
          type="checkbox"
          checked={problems}
          onChange={(event) => select({ problems: event.target.checked }, { replace: true })}
        />
        Only with problems
      </label>
      <ZoneField zone={selection.zone} select={select} />
      {(cursor !== null || answer.next_cursor !== null) && (
        <div className="oc-group">
          <button type="button" disabled={cursor === null} onClick={() => select({ cursor: null })}>
            First series
          </button>
          <button
            type="button"
            disabled={answer.next_cursor === null}
            // The pages are of one range.
            onClick={() => select({ cursor: answer.next_cursor, until: shown.end })}
          >
            More series
          </button>
        </div>
      )}
    </div>
  );
}

function spanText(name: string): string {
  return name.replace(/(\d+)/, "$1 ");
}

interface ExchangeFieldProps {
  answer: CoverageAnswer;
  timeframe: string;
  exchange: string | null;
  choose: (change: Partial<Selection>) => void;
}

/** The exchanges of the candles, and those that were seen in the answers. */
function ExchangeField({ answer, timeframe, exchange, choose }: ExchangeFieldProps) {
  const { data: candles } = useLoaded(timeframe, (signal) => readSeries(timeframe, undefined, signal));
  const seen = useRef(new Set<string>());
  for (const { exchange: name } of [...answer.series, ...(candles?.series ?? [])]) if (name) seen.current.add(name);
  if (exchange) seen.current.add(exchange);
  return (
    <label className="oc-field">
      <span>Exchange</span>
      <select value={exchange ?? ""} onChange={(event) => choose({ coverageExchange: event.target.value || null })}>
        <option value="">all</option>
        {[...seen.current].sort().map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </label>
  );
}

/** A part of the names of series. It is searched when Enter is pressed, or the field is left. */
function SearchField({ text, search }: { text: string; search: (text: string) => void }) {
  const [typed, setTyped] = useState(text);
  useEffect(() => setTyped(text), [text]);
  const apply = (event?: FormEvent) => {
    event?.preventDefault();
    if (typed.trim() !== text) search(typed.trim());
  };
  return (
    <form className="oc-field" onSubmit={apply}>
      <label htmlFor="oc-coverage-search">Search</label>
      <input
        id="oc-coverage-search"
        type="search"
        placeholder="part of a name"
        value={typed}
        onChange={(event) => setTyped(event.target.value)}
        onBlur={() => apply()}
      />
    </form>
  );
}
