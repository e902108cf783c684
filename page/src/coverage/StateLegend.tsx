import { barsPath } from "./paths";
import { NOTE_BAR, ROW_HEIGHT, STATES } from "./states";

const WIDTH = 16;
/** A note is above the state that it explains. */
const NOTED: Mark[] = [
  { name: "note", bars: [NOTE_BAR] },
  { name: "no-data", bars: [[4, 20]] },
];

interface Mark {
  /** Part of the name of the style class. */
  name: string;
  bars: [number, number][];
}

/** A cell of the heat map. */
export function StateMark({ marks }: { marks: Mark[] }) {
  return (
    <svg className="oc-mark" width={WIDTH} height={ROW_HEIGHT} aria-hidden="true">
      {marks.map(({ name, bars }) => (
        <path key={name} className={`oc-state-${name}`} d={barsPath({ hours: 1, cell: WIDTH }, bars, () => true)} />
      ))}
    </svg>
  );
}

/** The states and their marks, which differ in shape, not only in colour. */
export function StateLegend() {
  return (
    <ul className="oc-states" aria-label="States">
      {Object.entries(STATES)
        .reverse()
        .map(([state, style]) => (
          <li key={state} title={style.meaning}>
            <StateMark marks={[style]} />
            {state}
          </li>
        ))}
      <li title="A person has explained these hours.">
        <StateMark marks={NOTED} />
        note
      </li>
      <li className="oc-muted">empty: no trade expected, or not counted yet</li>
    </ul>
  );
}
