import { useCallback, useState } from "react";
import { readQuality } from "../api/client";
import type { Finding, TimeframeInfo } from "../api/types";
import type { Select } from "../CandlesPage";
import { rangeAround } from "../chart/target";
import { AirflowNotice, pauseOf } from "../shared/AirflowNotice";
import { useLoaded } from "../shared/hooks";
import { ErrorNotice } from "../shared/Notice";
import { toSeconds, type Zone } from "../shared/times";
import { RebuildDialog, type RebuildRange } from "./RebuildDialog";
import { VerdictCard } from "./VerdictCard";

const REFRESH_MILLISECONDS = 30_000;

interface QualityTabProps {
  timeframes: TimeframeInfo[];
  zone: Zone;
  select: Select;
}

/** Latest validation of each timeframe, and the way to rebuild a range. */
export function QualityTab({ timeframes, zone, select }: QualityTabProps) {
  const { data, error, reload } = useLoaded("quality", readQuality, pauseOf(REFRESH_MILLISECONDS));
  const [rebuild, setRebuild] = useState<RebuildRange | null>(null);
  const close = useCallback(() => setRebuild(null), []);
  const open = (timeframe: string, finding: Finding) => {
    const length = timeframes.find((item) => item.name === timeframe)?.seconds ?? 3600;
    const start = toSeconds(finding.window_start);
    const { symbol, exchange } = finding;
    const around = rangeAround(start, start + length, length);
    select({ tab: "chart", timeframe, symbol, exchange, compare: null, ...around });
  };
  return (
    <section className="oc-scroll" aria-label="Quality">
      {error !== null && <ErrorNotice error={error} retry={reload} />}
      {data && <AirflowNotice airflow={data.airflow} />}
      {!data && error === null && <p className="oc-muted">Loading …</p>}
      <div className="oc-cards">
        {data?.timeframes.map(({ name, dag_id, verdicts }) => (
          <VerdictCard
            key={name}
            name={name}
            dagId={dag_id}
            verdicts={verdicts}
            known={data.airflow.reachable}
            zone={zone}
            onOpen={(finding) => open(name, finding)}
            onRebuild={setRebuild}
          />
        ))}
      </div>
      {rebuild && <RebuildDialog range={rebuild} timeframes={timeframes.map((item) => item.name)} close={close} />}
    </section>
  );
}
