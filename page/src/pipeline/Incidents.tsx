import type { Incident } from "../api/types";
import { StateBadge } from "../shared/StateBadge";
import { formatIso, type Zone } from "../shared/times";

/** Open incidents, the oldest first. */
export function Incidents({ incidents, zone }: { incidents: Incident[]; zone: Zone }) {
  if (incidents.length === 0) {
    return (
      <p>
        Incidents <StateBadge state="none open" />
      </p>
    );
  }
  const ordered = [...incidents].sort((one, other) => one.since.localeCompare(other.since));
  return (
    <div className="oc-card oc-incidents">
      <h2>Open incidents</h2>
      <div className="oc-table">
        <table>
          <thead>
            <tr>
              <th scope="col">Incident</th>
              <th scope="col">Since</th>
              <th scope="col">Error</th>
            </tr>
          </thead>
          <tbody>
            {ordered.map((incident) => (
              <tr key={incident.key}>
                <th scope="row">
                  {incident.key}
                  {incident.suppressed && <span className="oc-badge">suppressed</span>}
                </th>
                <td>{formatIso(incident.since, zone)}</td>
                <td>{incident.error || "–"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}
