import { barsPath } from "./paths";
import { NOTE_BAR, ROW_HEIGHT, STATES } from "./states";

const WIDTH = 16;

/** The mark of a state, as in the heat map. */
export function StateMark({ name, bars }: { name: string; bars: [number, number][] }) {
  const path = barsPath({ hours: 1, cell: WIDTH }, bars, () => true);
  return (
    <svg className="oc-mark" width={WIDTH} height={ROW_HEIGHT} aria-hidden="true">
      <path className={`oc-state-${name}`} d={path} />
    </svg>
  );
}

/** The states and their marks, which differ in shape, not only in colour. */
export function StateLegend() {
  return (
    <ul className="oc-states" aria-label="States">
      {Object.entries(STATES)
        .reverse()
        .map(([state, { name, bars, meaning }]) => (
          <li key={state} title={meaning}>
            <StateMark name={name} bars={bars} />
            {state}
          </li>
        ))}
      <li title="A person has explained these hours.">
        <StateMark name="note" bars={[NOTE_BAR]} />
        note
      </li>
      <li className="oc-muted">empty: no trade expected, or not counted yet</li>
    </ul>
  );
}
