import type { AirflowState } from "../api/types";
import { Notice } from "./Notice";

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
