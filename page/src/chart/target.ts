import { type Bounds, FEW_WINDOWS, type View } from "./frame";

/**
 * What to show: a fixed span, if wanted with the crosshair at a window, or a span of this length up to the newest window
 * (null: the default length).
 */
export type Target = (View & { at?: number }) | { newest: number | "all" | null };

/** Return the view that ends a little after the newest window. */
export function newestView(bounds: Bounds, span: number, step: number): View {
  const to = bounds.newest + step + Math.max(step, span * 0.03);
  return { from: to - span, to };
}

/** Return the view of a target. `limit` is the largest number of windows in view. */
export function viewOf(target: Target, bounds: Bounds, step: number, limit: number): View {
  if ("from" in target) return { from: target.from, to: target.to };
  const whole = (bounds.newest + step - bounds.first) * 1.05;
  if (target.newest === "all") return newestView(bounds, whole, step);
  const usual = Math.max(40, Math.min(150, limit / 8)) * step;
  return newestView(bounds, target.newest ?? Math.min(usual, Math.max(whole, FEW_WINDOWS * step)), step);
}

/** Windows on each side of what is opened in the chart from another tab. */
const CONTEXT = 30;

/** Return the selection of the windows from `start` to `end` with some around them, and the crosshair at the first. */
export function rangeAround(start: number, end: number, step: number) {
  const first = Math.floor(start / step) * step;
  return { range: null, start: first - CONTEXT * step, end: end + CONTEXT * step, at: first };
}
