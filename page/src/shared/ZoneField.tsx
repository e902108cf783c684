import type { Select } from "../CandlesPage";
import type { Zone } from "./times";

/** The time zone in which times are shown. */
export function ZoneField({ zone, select }: { zone: Zone; select: Select }) {
  return (
    <fieldset className="oc-field">
      <legend>Time</legend>
      <div className="oc-group">
        {(["utc", "local"] as const).map((name) => (
          <button
            key={name}
            type="button"
            aria-pressed={name === zone}
            onClick={() => select({ zone: name }, { replace: true })}
          >
            {name === "utc" ? "UTC" : "Local"}
          </button>
        ))}
      </div>
    </fieldset>
  );
}
