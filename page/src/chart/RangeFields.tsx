import { type FormEvent, useEffect, useState } from "react";
import type { Select } from "../CandlesPage";
import { fromInput, toInput, type Zone } from "../shared/times";
import type { View } from "./frame";

interface RangeFieldsProps {
  view: View | null;
  zone: Zone;
  select: Select;
}

/** Start and end of the view, editable. */
export function RangeFields({ view, zone, select }: RangeFieldsProps) {
  const [edited, setEdited] = useState<{ from: string; to: string } | null>(null);
  const current = view
    ? { from: toInput(minute(view.from), zone), to: toInput(minute(view.to), zone) }
    : { from: "", to: "" };
  const shown = edited ?? current;
  // biome-ignore lint/correctness/useExhaustiveDependencies: a moved chart discards the edit.
  useEffect(() => setEdited(null), [current.from, current.to]);

  const from = fromInput(shown.from, zone);
  const to = fromInput(shown.to, zone);
  const valid = from !== null && to !== null && from < to;
  const apply = (event: FormEvent) => {
    event.preventDefault();
    if (edited && valid) select({ start: from, end: to, at: null, range: null });
  };
  return (
    <form className="oc-range" onSubmit={apply}>
      {(["from", "to"] as const).map((name) => (
        <label className="oc-field" key={name}>
          <span>
            {name === "from" ? "From" : "To"} ({zone === "utc" ? "UTC" : "local"})
          </span>
          <input
            type="datetime-local"
            value={shown[name]}
            aria-invalid={!valid}
            onChange={(event) => setEdited({ ...shown, [name]: event.target.value })}
          />
        </label>
      ))}
      <button type="submit" disabled={!edited || !valid}>
        Show
      </button>
    </form>
  );
}

function minute(seconds: number): number {
  return Math.floor(seconds / 60) * 60;
}
