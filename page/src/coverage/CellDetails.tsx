import type { CoverageAnswer, CoverageNote, CoverageSeries } from "../api/types";
import { formatCount } from "../shared/numbers";
import { formatIso, formatTime, toSeconds, type Zone } from "../shared/times";
import { StateMark } from "./StateLegend";
import { STATES } from "./states";
import { nameOf, notesOf, reasonOfNone } from "./summary";

interface CellDetailsProps {
  answer: CoverageAnswer;
  /** Null: no cell is chosen. */
  series: CoverageSeries | null;
  column: number;
  zone: Zone;
  onOpen: (() => void) | null;
}

/** The facts of a series in an hour. */
export function CellDetails({ answer, series, column, zone, onOpen }: CellDetailsProps) {
  if (!series) {
    return (
      <section className="oc-cell oc-muted" aria-label="Facts of the hour">
        Point at a cell, or move in the map by the arrow keys, to see the facts of the hour. Shift and an arrow move by
        a day, Home and End to the first and last hour, Enter opens the chart.
      </section>
    );
  }
  const hour = toSeconds(answer.hours[column] ?? answer.start);
  const state = series.states[column] ?? null;
  const style = state === null ? undefined : STATES[state];
  const facts: [string, (number | null)[]][] = [
    ["Trades", series.trades],
    ["Missing numbers", series.missing],
    ["Rejected", series.rejected],
    ["Duplicates", series.duplicates],
  ];
  return (
    <section className="oc-cell" aria-label="Facts of the hour">
      <div className="oc-pane-head">
        <h2>
          {nameOf(series)}, {formatTime(hour, zone)}
        </h2>
        {onOpen && (
          <button type="button" onClick={onOpen}>
            Show in the chart
          </button>
        )}
      </div>
      <p className="oc-cell-state">
        {style && <StateMark marks={[style]} />}
        <strong>{state ?? "no state"}</strong>
        <span className="oc-muted">{style ? style.meaning : reasonOfNone(hour, answer.counted_until)}</span>
      </p>
      <dl>
        {facts.map(([name, values]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{formatCount(values[column])}</dd>
          </div>
        ))}
      </dl>
      {series.details[column] && <p>{series.details[column]}</p>}
      {notesOf(answer, series, column).map((note) => (
        <Note key={note.note} note={note} zone={zone} />
      ))}
    </section>
  );
}

function Note({ note, zone }: { note: CoverageNote; zone: Zone }) {
  const place = note.symbol === null ? note.exchange : nameOf({ exchange: note.exchange, symbol: note.symbol });
  const end = note.end_time === null ? "open" : formatIso(note.end_time, zone);
  return (
    <p className="oc-cell-note">
      <strong>{note.kind}</strong> {note.reason}{" "}
      <span className="oc-muted">
        ({place}, {formatIso(note.start_time, zone)} – {end}, by {note.author})
      </span>
    </p>
  );
}
