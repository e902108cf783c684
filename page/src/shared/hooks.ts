import { useCallback, useEffect, useRef, useState } from "react";
import { isAbort } from "../api/client";

export interface Loaded<T> {
  data: T | null;
  error: unknown;
  loading: boolean;
  reload: () => void;
}

/**
 * Load data, again when `key` changes, and every `interval` milliseconds while the page is visible. After a failed
 * reload the last data stay.
 */
export function useLoaded<T>(key: string, load: (signal: AbortSignal) => Promise<T>, interval?: number): Loaded<T> {
  const [data, setData] = useState<{ key: string; value: T } | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [loading, setLoading] = useState(true);
  const [attempt, setAttempt] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  const reload = useCallback(() => setAttempt((count) => count + 1), []);

  // biome-ignore lint/correctness/useExhaustiveDependencies: `attempt` starts the load again.
  useEffect(() => {
    const controller = new AbortController();
    const run = async () => {
      setLoading(true);
      try {
        const value = await latest.current(controller.signal);
        if (controller.signal.aborted) return;
        setData({ key, value });
        setError(null);
      } catch (problem) {
        if (controller.signal.aborted || isAbort(problem)) return;
        setError(problem);
      }
      setLoading(false);
    };
    run();
    const timer = interval ? window.setInterval(() => document.hidden || run(), interval) : undefined;
    return () => {
      controller.abort();
      window.clearInterval(timer);
    };
  }, [key, attempt, interval]);

  return { data: data?.key === key ? data.value : null, error, loading, reload };
}
