import { expect, it, vi } from "vitest";
import { type Request, RequestQueue } from "./requestQueue";

interface Started extends Request {
  signal: AbortSignal;
  finish: () => void;
}

/** Return a function that makes requests, and the list of those that started. */
function recorder() {
  const started: Started[] = [];
  const make = (key: string): Request => ({
    key,
    run: (signal) =>
      new Promise((resolve, reject) => {
        signal.addEventListener("abort", () => reject(new DOMException("", "AbortError")));
        started.push({ key, signal, finish: resolve, run: async () => {} });
      }),
  });
  return { started, make, keys: () => started.map((request) => request.key) };
}

it("runs at most two requests at the same time, in their order", async () => {
  const { started, make, keys } = recorder();
  const queue = new RequestQueue(vi.fn(), vi.fn());
  queue.replace(["a", "b", "c"].map(make));
  expect(keys()).toEqual(["a", "b"]);
  started[0]?.finish();
  await vi.waitFor(() => expect(keys()).toEqual(["a", "b", "c"]));
  started[1]?.finish();
  started[2]?.finish();
  await vi.waitFor(() => expect(queue.busy).toBe(false));
});

it("cancels what is no longer needed, and does not start what runs already", () => {
  const { started, make, keys } = recorder();
  const onError = vi.fn();
  const queue = new RequestQueue(onError, vi.fn());
  queue.replace(["a", "b", "c"].map(make));
  queue.replace(["b", "d"].map(make));
  expect(started.map((request) => request.signal.aborted)).toEqual([true, false, false]);
  expect(keys()).toEqual(["a", "b", "d"]);
  expect(onError).not.toHaveBeenCalled();
});

it("reports an error and starts no further request", async () => {
  const onError = vi.fn();
  const later = vi.fn();
  const queue = new RequestQueue(onError, vi.fn());
  const failing = { key: "a", run: () => Promise.reject(new Error("no")) };
  const pending = { key: "b", run: () => new Promise<void>(() => {}) };
  queue.replace([failing, pending, { key: "c", run: later }]);
  await vi.waitFor(() => expect(onError).toHaveBeenCalledWith(new Error("no")));
  expect(later).not.toHaveBeenCalled();
});
