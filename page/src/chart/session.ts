import { ApiError, isAbort } from "../api/client";
import type { Zone } from "../shared/times";
import type { SeriesKey } from "./bounds";
import { CandleData } from "./candleData";
import {
  type Bounds,
  clampView,
  type Frame,
  frameOf,
  fromLogical,
  needsFrame,
  type Step,
  shownStep,
  toLogical,
  type View,
  visibleLimit,
} from "./frame";
import { movedCursor, panned, viewWith, zoomed } from "./moves";
import { Pane } from "./pane";
import { RequestQueue } from "./requestQueue";
import type { SessionEvents } from "./sessionEvents";
import { newestView, type Target, viewOf } from "./target";
import { readTheme } from "./theme";

const POLL_MILLISECONDS = 5000;
/** Time after a move of the wheel or a finger in which the charts report its effect. */
const ECHO_MILLISECONDS = 300;
/** Part of a window by which two equal views may differ after a conversion. */
const TOLERANCE = 1e-3;

/** The charts of one or two series with one time axis: finds out what the view needs, and draws it. */
export class ChartSession {
  private readonly data: CandleData;
  private readonly panes: Pane[];
  private readonly queue: RequestQueue;
  private readonly closing = new AbortController();
  private readonly timer: number;
  private view: View | null = null;
  private step: Step | null = null;
  private frame: Frame | null = null;
  /** The view that the charts show. */
  private applied: View | null = null;
  /** The pane that the user operates, and when. Other reported ranges are echoes of what was set. */
  private active = 0;
  private operated = 0;
  private dragging = false;
  private moved = false;
  private scheduled = 0;
  private cursor: number | null = null;
  private error: unknown = null;
  /** Timeframe whose newest candles are being read. */
  private polling: Step | null = null;

  constructor(
    elements: HTMLElement[],
    private readonly keys: SeriesKey[],
    private readonly steps: Step[],
    private selected: string,
    private target: Target,
    private readonly events: SessionEvents,
  ) {
    const onError = (error: unknown) => this.fail(error);
    this.queue = new RequestQueue(onError, () => this.report());
    this.data = new CandleData(keys, {
      onTable: () => this.update(),
      onCandles: (series, step) => step === this.step && this.drawPane(series),
      onError,
    });
    const theme = readTheme(elements[0] as HTMLElement);
    this.panes = elements.map((element, index) => {
      this.listen(element, index);
      return new Pane(element, theme, {
        onRange: (range) => this.onRange(index, range.from, range.to),
        onHover: (time) => this.onHover(index, time),
        onClick: (time) => this.pick(time, index),
      });
    });
    this.timer = window.setInterval(() => document.hidden || this.poll(), POLL_MILLISECONDS);
    this.update();
  }

  private listen(element: HTMLElement, index: number): void {
    const { signal } = this.closing;
    const operate = () => {
      this.active = index;
      this.operated = performance.now();
    };
    for (const type of ["pointerdown", "wheel"]) {
      element.addEventListener(type, operate, { capture: true, passive: true, signal });
    }
    element.addEventListener("focus", () => (this.active = index), { signal });
    element.addEventListener("pointerdown", () => this.drag(true), { capture: true, signal });
    for (const type of ["pointerup", "pointercancel"]) {
      window.addEventListener(type, () => this.drag(false), { signal });
    }
  }

  close(): void {
    this.closing.abort();
    this.data.close();
    window.clearInterval(this.timer);
    cancelAnimationFrame(this.scheduled);
    this.queue.replace([]);
    for (const pane of this.panes) pane.remove();
  }

  refreshTheme(): void {
    for (const pane of this.panes) pane.setTheme(readTheme(pane.element));
    this.draw();
  }

  setLogScale(log: boolean): void {
    for (const pane of this.panes) pane.setLogScale(log);
  }

  setZone(zone: Zone): void {
    for (const pane of this.panes) pane.setZone(zone);
  }

  /** Select a timeframe. A view that the user has chosen stays. */
  setTimeframe(name: string): void {
    if (name === this.selected) return;
    this.selected = name;
    this.error = null;
    if (!this.moved && "newest" in this.target) this.view = null;
    this.update();
  }

  show(target: Target): void {
    this.target = target;
    this.view = null;
    this.moved = false;
    this.update();
  }

  retry(): void {
    this.error = null;
    this.update();
    this.poll();
  }

  /** Zoom. A factor below 1 shows fewer windows. */
  zoom(factor: number): void {
    if (this.view) this.moveTo(zoomed(this.view, factor, this.cursor));
  }

  pan(screens: number): void {
    if (this.view) this.moveTo(panned(this.view, screens));
  }

  goTo(end: "first" | "newest"): void {
    const bounds = this.data.bounds(this.step);
    if (!this.view || !this.step || !bounds) return;
    const span = this.view.to - this.view.from;
    if (end === "first") this.moveTo({ from: bounds.first, to: bounds.first + span });
    else this.moveTo(newestView(bounds, span, this.step.seconds));
    this.setCursor(bounds[end]);
  }

  /** Move the crosshair by windows, and the view with it. */
  moveCursor(windows: number): void {
    const bounds = this.data.bounds(this.step);
    if (!this.view || !this.step || !bounds) return;
    const time = movedCursor(this.cursor, windows, this.view, bounds, this.step.seconds);
    const view = viewWith(time, this.view, this.step.seconds);
    if (view !== this.view) this.moveTo(view);
    this.setCursor(time);
  }

  clearCursor(): void {
    this.setCursor(null);
  }

  /** Pick a window, by default that of the crosshair or the newest one in the chart that was operated last. */
  pick(time = this.cursor ?? this.data.bounds(this.step)?.newest, pane = this.active): void {
    const drawn = time !== undefined && this.step ? this.data.find(pane, this.step, time) : undefined;
    const key = this.keys[pane];
    if (!drawn || drawn.provisional || !this.step || !key) return;
    this.events.onPick(key, this.step.name, drawn.candle.window_start);
  }

  private setCursor(time: number | null, except?: number): void {
    this.cursor = time;
    this.panes.forEach((pane, index) => {
      if (index === except) return;
      const drawn = time === null || !this.step ? undefined : this.data.find(index, this.step, time);
      pane.showCrosshair(time, drawn ? Number(drawn.candle.close_price) : null);
    });
    this.reportHover();
  }

  private onHover(pane: number, time: number | null): void {
    if (time !== this.cursor) this.setCursor(time, pane);
  }

  private drag(dragging: boolean): void {
    if (dragging === this.dragging) return;
    this.dragging = dragging;
    this.operated = performance.now();
    this.schedule();
  }

  private onRange(pane: number, from: number, to: number): void {
    if (!this.frame || !this.view || pane !== this.active) return;
    if (!this.dragging && performance.now() - this.operated > ECHO_MILLISECONDS) return;
    const view = { from: fromLogical(from, this.frame), to: fromLogical(to, this.frame) };
    const tolerance = TOLERANCE * this.frame.step;
    if (Math.abs(view.from - this.view.from) < tolerance && Math.abs(view.to - this.view.to) < tolerance) return;
    this.view = view;
    this.applied = view;
    this.moved = true;
    this.panes.forEach((other, index) => {
      if (index !== pane) other.setRange(from, to);
    });
    this.schedule();
  }

  private moveTo(view: View): void {
    const bounds = this.data.bounds(this.step);
    if (!bounds || !this.step) return;
    this.moved = true;
    // A view that is too wide for this timeframe is clamped in the coarser one.
    const next = shownStep(this.available(), this.selected, this.step.name, view, this.limit());
    this.view = next === this.step ? clampView(view, bounds, this.step.seconds, this.limit()) : view;
    this.applyRange();
    this.update();
  }

  private schedule(): void {
    cancelAnimationFrame(this.scheduled);
    this.scheduled = requestAnimationFrame(() => this.update());
  }

  private limit(): number {
    return visibleLimit(this.panes[0]?.plotWidth ?? 0);
  }

  /** Return the selected timeframe and those that have candles of the series, as far as known. */
  private available(): Step[] {
    return this.steps.filter((step) => step.name === this.selected || this.data.known(step.name)?.bounds !== null);
  }

  /** Bring timeframe, frame and requests in line with the view. */
  private update(): void {
    if (this.closing.signal.aborted) return;
    const selected = this.steps.find((step) => step.name === this.selected);
    if (selected && !this.error) this.advance(selected);
    this.report();
  }

  private advance(selected: Step): void {
    const limit = this.limit();
    if (!this.view) {
      const bounds = this.data.table(selected.name)?.bounds;
      if (!bounds) return;
      this.view = viewOf(this.target, bounds, selected.seconds, limit);
      this.cursor = ("from" in this.target && this.target.at) || null;
    }
    const step = shownStep(this.available(), selected.name, this.step?.name ?? null, this.view, limit);
    const table = step && this.data.table(step.name);
    if (!step || !table) return;
    if (!table.bounds) {
      // Its table has no candle of the series: the next timeframe is taken.
      if (step !== selected) this.advance(selected);
      return;
    }
    const changed = step !== this.step;
    this.step = step;
    const bounds = this.data.bounds(step) as Bounds;
    if (changed || !this.frame || (!this.dragging && needsFrame(this.view, this.frame, bounds))) {
      this.view = clampView(this.view, bounds, step.seconds, limit);
      this.frame = frameOf(this.view, bounds, step.seconds);
      this.draw();
    }
    if (!sameRange(this.view, this.applied)) this.applyRange();
    if (changed && this.cursor !== null) this.setCursor(this.cursor);
    this.queue.replace(this.data.requests(this.view, step));
    if (changed) this.poll();
  }

  private applyRange(): void {
    const { frame, view } = this;
    if (!frame || !view) return;
    this.applied = view;
    for (const pane of this.panes) pane.setRange(toLogical(view.from, frame), toLogical(view.to, frame));
  }

  private draw(): void {
    this.panes.forEach((_, index) => {
      this.drawPane(index);
    });
  }

  private drawPane(index: number): void {
    const { frame, step } = this;
    if (!frame || !step) return;
    this.panes[index]?.draw(frame, (time) => this.data.find(index, step, time));
    this.applyRange();
    this.reportHover();
  }

  /** Refresh the newest candles. The view follows the newest window if it was in view. */
  private async poll(): Promise<void> {
    const { step } = this;
    const before = this.data.bounds(step);
    const loggedOut = this.error instanceof ApiError && this.error.status === 401;
    if (!step || !before || loggedOut || this.polling === step) return;
    let changed: boolean;
    this.polling = step;
    try {
      changed = await this.data.poll(step);
      this.error = null;
    } catch (error) {
      this.fail(error);
      return;
    } finally {
      this.polling = null;
    }
    const after = this.data.bounds(step);
    const { view } = this;
    if (step !== this.step || !after || !view || this.closing.signal.aborted) return;
    const shift = after.newest - before.newest;
    if (shift > 0 && !this.dragging) {
      const follows = this.moved || "newest" in this.target;
      if (follows && view.to > before.newest) this.view = { from: view.from + shift, to: view.to + shift };
      this.frame = frameOf(this.view as View, after, step.seconds);
    }
    if (changed) this.draw();
    this.update();
  }

  private fail(error: unknown): void {
    if (isAbort(error) || this.closing.signal.aborted) return;
    this.error = error;
    this.report();
  }

  private report(): void {
    if (this.closing.signal.aborted) return;
    const { step, view, error } = this;
    const loading = this.queue.busy || this.data.busy;
    const count = step ? this.data.provisionalCount(step) : 0;
    this.events.onState({
      shown: step?.name ?? null,
      view,
      moved: this.moved,
      loading,
      error,
      staleSeconds: this.data.known(step?.name ?? this.selected)?.staleSeconds ?? null,
      noData: this.data.known(this.selected)?.bounds === null,
      emptyView: !loading && !error && this.isEmpty(),
      provisional: count > 0 && this.data.computedAt ? { computedAt: this.data.computedAt, count } : null,
    });
  }

  private isEmpty(): boolean {
    const { view, frame, step } = this;
    if (!view || !frame || !step) return false;
    const first = Math.max(0, Math.floor((view.from - frame.start) / frame.step));
    const last = Math.min(frame.count - 1, Math.floor((view.to - frame.start) / frame.step));
    for (let index = first; index <= last; index += 1) {
      const time = frame.start + index * frame.step;
      if (this.keys.some((_, series) => this.data.find(series, step, time))) return false;
    }
    return true;
  }

  private reportHover(): void {
    const { step } = this;
    const time = this.cursor ?? this.data.bounds(step)?.newest ?? null;
    const candles = this.keys.map((_, series) =>
      time === null || !step ? undefined : this.data.find(series, step, time),
    );
    this.events.onHover({ time, crosshair: this.cursor !== null, candles });
  }
}

function sameRange(one: View, other: View | null): boolean {
  return other !== null && one.from === other.from && one.to === other.to;
}
