/** What the charts report. */

import type { SeriesKey } from "./bounds";
import type { View } from "./frame";
import type { Drawn } from "./pane";

export interface SessionState {
  /** Timeframe that is drawn. It is coarser than the selected one when zoomed out. */
  shown: string | null;
  view: View | null;
  /** The user has moved or zoomed since the last target. */
  moved: boolean;
  loading: boolean;
  error: unknown;
  staleSeconds: number | null;
  /** The selected timeframe has no candle of the series. */
  noData: boolean;
  /** All windows in view are read, and none has a candle. */
  emptyView: boolean;
  provisional: { computedAt: string; count: number } | null;
}

export interface Hover {
  /** The window of the legend: at the crosshair, or the newest one. */
  time: number | null;
  crosshair: boolean;
  candles: (Drawn | undefined)[];
}

export interface SessionEvents {
  onState: (state: SessionState) => void;
  onHover: (hover: Hover) => void;
  /** A stored candle was picked. */
  onPick: (series: SeriesKey, timeframe: string, start: string) => void;
}
