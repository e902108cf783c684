import { useMemo, useState } from "react";
import type { SeriesRange, TimeframeInfo } from "../api/types";
import type { Select } from "../CandlesPage";
import { RANGES, type Selection } from "../selection";
import { Combobox } from "../shared/Combobox";
import { ZoneField } from "../shared/ZoneField";
import type { View } from "./frame";
import { RangeFields } from "./RangeFields";

interface ToolbarProps {
  timeframes: TimeframeInfo[];
  timeframe: string;
  series: SeriesRange[];
  symbol: string;
  exchanges: string[];
  exchange: string;
  compare: string | null;
  selection: Selection;
  view: View | null;
  /** Given if the list of series is longer than one answer. */
  onSearch?: (text: string) => void;
  select: Select;
}

const LABELS: Record<string, string> = { "1m": "1M", "3m": "3M", all: "All" };

export function Toolbar(props: ToolbarProps) {
  const { timeframes, timeframe, series, symbol, exchanges, exchange, compare, selection, view, onSearch, select } =
    props;
  const symbols = useMemo(() => [...new Set(series.map((item) => item.symbol))], [series]);
  const [open, setOpen] = useState(false);
  const others = exchanges.filter((name) => name !== exchange);
  const chooseSymbol = (value: string) => {
    const offered = series.filter((item) => item.symbol === value).map((item) => item.exchange);
    select({
      symbol: value,
      exchange: offered.includes(exchange) ? exchange : (offered[0] ?? null),
      compare: compare && offered.includes(compare) ? compare : null,
    });
  };
  return (
    <div className="oc-toolbar">
      <Combobox label="Symbol" value={symbol} options={symbols} onChoose={chooseSymbol} onSearch={onSearch} />
      <Combobox
        label="Exchange"
        value={exchange}
        options={exchanges}
        onChoose={(value) => select({ symbol, exchange: value, compare: value === compare ? null : compare })}
      />
      <label className="oc-field">
        <span>Beside it</span>
        <select
          value={compare ?? ""}
          onChange={(event) => select({ symbol, exchange, compare: event.target.value || null })}
          disabled={others.length === 0}
        >
          <option value="">none</option>
          {others.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <fieldset className="oc-field">
        <legend>Timeframe</legend>
        <div className="oc-group">
          {timeframes.map(({ name, dag_id, retention }) => (
            <button
              key={name}
              type="button"
              aria-pressed={name === timeframe}
              title={`DAG ${dag_id}, retention ${retention}`}
              onClick={() => select({ symbol, exchange, timeframe: name })}
            >
              {name}
            </button>
          ))}
        </div>
      </fieldset>
      <button type="button" className="oc-toggle" aria-expanded={open} onClick={() => setOpen(!open)}>
        Range …
      </button>
      <div className={open ? "oc-more oc-open" : "oc-more"}>
        <fieldset className="oc-field">
          <legend>Newest</legend>
          <div className="oc-group">
            {RANGES.map(([name]) => (
              <button
                key={name}
                type="button"
                aria-pressed={name === selection.range}
                onClick={() => select({ range: name, start: null, end: null, at: null })}
              >
                {LABELS[name] ?? name}
              </button>
            ))}
          </div>
        </fieldset>
        <RangeFields view={view} zone={selection.zone} select={select} />
        <ZoneField zone={selection.zone} select={select} />
        <label className="oc-check">
          <input
            type="checkbox"
            checked={selection.log}
            onChange={(event) => select({ log: event.target.checked }, { replace: true })}
          />
          Log scale
        </label>
      </div>
    </div>
  );
}
