/** Views after a move by keys. Times are seconds in UTC. */

import type { Bounds, View } from "./frame";

/** Return the view zoomed around the crosshair if that is in view, else around its middle. */
export function zoomed(view: View, factor: number, cursor: number | null): View {
  const { from, to } = view;
  const inView = cursor !== null && cursor >= from && cursor < to;
  const center = inView ? cursor : (from + to) / 2;
  return { from: center - (center - from) * factor, to: center + (to - center) * factor };
}

/** Return the view moved by a number of screens. */
export function panned(view: View, screens: number): View {
  const shift = screens * (view.to - view.from);
  return { from: view.from + shift, to: view.to + shift };
}

/** Return the window of the crosshair after a move. Without a crosshair it is the last window in view. */
export function movedCursor(cursor: number | null, windows: number, view: View, bounds: Bounds, step: number): number {
  const wanted = cursor === null ? Math.floor(view.to / step) * step : cursor + windows * step;
  return Math.min(Math.max(wanted, bounds.first), bounds.newest);
}

/** Return the view moved as little as needed to have a window in it. */
export function viewWith(time: number, view: View, step: number): View {
  const span = view.to - view.from;
  if (time < view.from) return { from: time, to: time + span };
  if (time + step > view.to) return { from: time + step - span, to: time + step };
  return view;
}
