import { readIncidents, readStatus } from "../api/client";
import { AirflowNotice, pauseOf } from "../shared/AirflowNotice";
import { useLoaded } from "../shared/hooks";
import { ErrorNotice, Notice } from "../shared/Notice";
import { formatDuration, type Zone } from "../shared/times";
import { Incidents } from "./Incidents";
import { TimeframeCard } from "./TimeframeCard";

const REFRESH_MILLISECONDS = 15_000;

/** State of the pipeline, one card per timeframe. */
export function PipelineTab({ zone }: { zone: Zone }) {
  const status = useLoaded("status", readStatus, pauseOf(REFRESH_MILLISECONDS));
  const incidents = useLoaded("incidents", readIncidents, () => REFRESH_MILLISECONDS);
  return (
    <section className="oc-scroll" aria-label="Pipeline">
      {status.error !== null && <ErrorNotice error={status.error} retry={status.reload} />}
      {status.data && <AirflowNotice airflow={status.data.airflow} />}
      {status.data?.stale_seconds != null && (
        <Notice kind="warning">
          The catalog cannot be reached. Tables are shown as {formatDuration(status.data.stale_seconds)} ago.
        </Notice>
      )}
      {incidents.error !== null && <ErrorNotice error={incidents.error} retry={incidents.reload} />}
      {incidents.data && <Incidents incidents={incidents.data.incidents} zone={zone} />}
      {!status.data && status.error === null && <p className="oc-muted">Loading …</p>}
      <div className="oc-cards">
        {status.data?.timeframes.map((timeframe) => (
          <TimeframeCard
            key={timeframe.name}
            status={timeframe}
            known={status.data?.airflow.reachable ?? false}
            zone={zone}
          />
        ))}
      </div>
    </section>
  );
}
