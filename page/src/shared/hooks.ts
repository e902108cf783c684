import { useCallback, useEffect, useRef, useState } from "react";
import { isAbort } from "../api/client";

export interface Loaded<T> {
  data: T | null;
  error: unknown;
  loading: boolean;
  reload: () => void;
}

/**
 * Load data, again when `key` changes, and again after `interval` milliseconds while the page is visible. After a failed
 * reload the last data stay.
 */
export function useLoaded<T>(
  key: string,
  load: (signal: AbortSignal) => Promise<T>,
  interval?: (data: T | null) => number,
): Loaded<T> {
  const [data, setData] = useState<{ key: string; value: T } | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [loading, setLoading] = useState(true);
  const [attempt, setAttempt] = useState(0);
  const latest = useRef({ load, interval });
  latest.current = { load, interval };
  const reload = useCallback(() => setAttempt((count) => count + 1), []);

  // biome-ignore lint/correctness/useExhaustiveDependencies: `attempt` starts the load again.
  useEffect(() => {
    const controller = new AbortController();
    const { signal } = controller;
    let timer: number | undefined;
    let value: T | null = null;
    const run = async () => {
      if (!document.hidden) {
        setLoading(true);
        try {
          value = await latest.current.load(signal);
          if (signal.aborted) return;
          setData({ key, value });
          setError(null);
        } catch (problem) {
          if (signal.aborted || isAbort(problem)) return;
          setError(problem);
        }
        setLoading(false);
      }
      const { interval: pause } = latest.current;
      if (pause) timer = window.setTimeout(run, pause(value));
    };
    run();
    return () => {
      controller.abort();
      window.clearTimeout(timer);
    };
  }, [key, attempt]);

  return { data: data?.key === key ? data.value : null, error, loading, reload };
}
