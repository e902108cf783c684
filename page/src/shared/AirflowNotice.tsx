import type { AirflowState } from "../api/types";
import { Notice } from "./Notice";

const RETRY_MILLISECONDS = 5000;

/** Return the pause before the next request: short while the candle service waits for Airflow's first answer. */
export function pauseOf(usual: number): (data: { airflow: AirflowState } | null) => number {
  return (data) => (data?.airflow.reachable === false ? Math.min(usual, RETRY_MILLISECONDS) : usual);
}

/** A notice while the candle service cannot ask Airflow for runs. */
export function AirflowNotice({ airflow }: { airflow: AirflowState }) {
  if (airflow.reachable) return null;
  return (
    <Notice kind="warning">
      Airflow is not reachable for the candle service, so runs are missing here.
      {airflow.detail ? ` ${airflow.detail}` : ""}
    </Notice>
  );
}
