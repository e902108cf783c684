import type { ReactNode } from "react";
import { ApiError } from "../api/client";

interface NoticeProps {
  kind: "info" | "warning" | "error";
  children: ReactNode;
  action?: { label: string; run: () => void };
}

/** One line about a state of the page, with at most one action. */
export function Notice({ kind, children, action }: NoticeProps) {
  return (
    <div className={`oc-notice oc-${kind}`} role={kind === "error" ? "alert" : "status"}>
      <span>{children}</span>
      {action && (
        <button type="button" onClick={action.run}>
          {action.label}
        </button>
      )}
    </div>
  );
}

/** The reason of a failed request, and what to do. */
export function ErrorNotice({ error, retry }: { error: unknown; retry: () => void }) {
  if (error instanceof ApiError && error.status === 401) {
    return (
      <Notice kind="error" action={{ label: "Reload", run: () => window.location.reload() }}>
        Your session has ended. Reload the page to log in.
      </Notice>
    );
  }
  const message = error instanceof Error ? error.message : String(error);
  const denied = error instanceof ApiError && error.status === 403;
  return (
    <Notice kind="error" action={{ label: "Retry", run: retry }}>
      {denied ? `No access: ${message}` : message}
    </Notice>
  );
}
