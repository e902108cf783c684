/**
 * Pure computations of what the chart shows. The chart draws a frame: all windows of one timeframe around the view, one
 * point per window, so that a position on the time axis is the number of a window. Times are seconds in UTC.
 */

import { MAX_WINDOWS } from "../api/client";

/** The visible time span. */
export interface View {
  from: number;
  to: number;
}

export interface Bounds {
  first: number;
  /** Start of the newest window. */
  newest: number;
}

export interface Frame {
  /** Length of a window. */
  step: number;
  /** Start of the first window. */
  start: number;
  count: number;
}

export interface Step {
  name: string;
  seconds: number;
  /** Whether its candles have measures. */
  measures: boolean;
}

/** A finer timeframe is used again when it has at most this share of the limit in view. */
const REFINE_BELOW = 0.7;
/** Fewest windows in view. */
export const MIN_VISIBLE = 10;
/** The width of a view of few candles. */
export const FEW_WINDOWS = 60;

export function floorTo(time: number, step: number): number {
  return Math.floor(time / step) * step;
}

/**
 * Return the most windows in view for a chart of this width. With one screen more on each side, a view needs at most
 * three times as many.
 */
export function visibleLimit(width: number): number {
  return Math.max(200, Math.min(2000, Math.round(1.5 * width)));
}

/**
 * Return the timeframe to draw: the selected one, or the next coarser one in which the view has at most `limit`
 * windows. `current` is drawn now; it changes only if the finer one fits well, so that zooming does not flicker.
 */
export function shownStep(
  steps: Step[],
  selected: string,
  current: string | null,
  view: View,
  limit: number,
): Step | null {
  const ordered = [...steps].sort((a, b) => a.seconds - b.seconds);
  const start = ordered.findIndex((step) => step.name === selected);
  if (start < 0) return null;
  const span = view.to - view.from;
  const currentIndex = ordered.findIndex((step) => step.name === current);
  for (let index = start; index < ordered.length; index += 1) {
    const step = ordered[index] as Step;
    const most = currentIndex > index ? REFINE_BELOW * limit : limit;
    if (span / step.seconds <= most) return step;
  }
  return ordered.at(-1) ?? null;
}

/** Return the span of the windows in view, those at the edges whole. */
export function windowsOf(view: View, step: number): View {
  return { from: floorTo(view.from, step), to: floorTo(view.to - 1, step) + step };
}

/** Return the view moved and shortened so that it stays near the data. */
export function clampView(view: View, bounds: Bounds, step: number, limit: number): View {
  const end = bounds.newest + step;
  const longest = Math.max(1.1 * (end - bounds.first), FEW_WINDOWS * step);
  const span = Math.min(Math.max(view.to - view.from, MIN_VISIBLE * step), longest, limit * step);
  // A shortened view keeps the newest window if it has it, else its middle.
  const wanted = view.to >= end ? view.to : (view.from + view.to + span) / 2;
  const to = Math.min(Math.max(wanted, Math.min(bounds.first + span / 2, end)), end + span / 2);
  return { from: Math.round(to - span), to: Math.round(to) };
}

/** Return the frame of a view: the view and two screens on each side, cut at the data. */
export function frameOf(view: View, bounds: Bounds, step: number): Frame {
  const span = view.to - view.from;
  const start = Math.max(floorTo(view.from - 2 * span, step), floorTo(bounds.first, step));
  const end = Math.min(floorTo(view.to + 2 * span, step) + step, floorTo(bounds.newest, step) + step);
  return { step, start, count: Math.max(1, Math.round((end - start) / step)) };
}

export function frameEnd(frame: Frame): number {
  return frame.start + frame.count * frame.step;
}

/** Return whether the view comes so near to an end of the frame that the chart needs another one. */
export function needsFrame(view: View, frame: Frame, bounds: Bounds): boolean {
  const margin = (view.to - view.from) / 2;
  const left = view.from - margin < frame.start && frame.start > bounds.first;
  const right = view.to + margin > frameEnd(frame) && frameEnd(frame) < bounds.newest + frame.step;
  return left || right;
}

/** Return the position of a time on the axis of a frame. Window 0 begins at -0.5. */
export function toLogical(time: number, frame: Frame): number {
  return (time - frame.start) / frame.step - 0.5;
}

export function fromLogical(position: number, frame: Frame): number {
  return frame.start + (position + 0.5) * frame.step;
}

/** Windows per block: the unit of the cache. */
export const BLOCK = 1000;

/**
 * Return the ranges of blocks to load: the view first, then one screen on each side. Neighbouring blocks are one
 * request of at most MAX_WINDOWS windows.
 */
export function missingRanges(view: View, step: number, bounds: Bounds, has: (block: number) => boolean): View[] {
  const span = view.to - view.from;
  const last = bounds.newest + step;
  const seen = new Set<number>();
  const ranges: View[] = [];
  for (const [from, to] of [
    [view.from, view.to],
    [view.to, view.to + span],
    [view.from - span, view.from],
  ] as const) {
    const low = Math.max(from, bounds.first);
    const high = Math.min(to, last);
    if (low >= high) continue;
    let run: number[] = [];
    const flush = () => {
      if (run.length > 0) ranges.push(blockRange(run[0] as number, run.at(-1) as number, step));
      run = [];
    };
    for (let block = blockOf(low, step); block <= blockOf(high - 1, step); block += 1) {
      if (seen.has(block) || has(block)) {
        flush();
        continue;
      }
      seen.add(block);
      run.push(block);
      if (run.length * BLOCK >= MAX_WINDOWS) flush();
    }
    flush();
  }
  return ranges;
}

export function blockOf(time: number, step: number): number {
  return Math.floor(time / (BLOCK * step));
}

function blockRange(first: number, last: number, step: number): View {
  return { from: first * BLOCK * step, to: (last + 1) * BLOCK * step };
}
