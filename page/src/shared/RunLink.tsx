import { Link } from "react-router-dom";

interface RunLinkProps {
  dagId: string;
  runId: string;
  children?: string;
}

/** A link to a run in Airflow. */
export function RunLink({ dagId, runId, children }: RunLinkProps) {
  const to = `/dags/${encodeURIComponent(dagId)}/runs/${encodeURIComponent(runId)}`;
  return (
    <Link to={to} title={runId}>
      {children ?? runId}
    </Link>
  );
}
