import {
  type CandlestickData,
  CandlestickSeries,
  CrosshairMode,
  createChart,
  type HistogramData,
  HistogramSeries,
  type IChartApi,
  type ISeriesApi,
  type LineData,
  LineSeries,
  type LogicalRange,
  PriceScaleMode,
  TickMarkType,
  type UTCTimestamp,
} from "lightweight-charts";
import type { Candle } from "../api/types";
import { decimalsOf, formatDecimal } from "../shared/numbers";
import { formatTime, timeParts, type Zone } from "../shared/times";
import type { Frame } from "./frame";
import type { ChartTheme } from "./theme";

export interface PaneEvents {
  /** The user moved or zoomed. */
  onRange: (range: LogicalRange) => void;
  onHover: (time: number | null) => void;
  /** A click or a tap, not a move. */
  onClick: (time: number) => void;
}

export interface Drawn {
  candle: Candle;
  provisional: boolean;
}

const MAX_DECIMALS = 8;

/** One chart: candlesticks, volume and vwap of one series. */
export class Pane {
  private readonly chart: IChartApi;
  private readonly candles: ISeriesApi<"Candlestick">;
  private readonly volume: ISeriesApi<"Histogram">;
  private readonly vwap: ISeriesApi<"Line">;
  /** Invisible points, one per window of the frame. They make the time axis, also where no candle is. */
  private readonly axis: ISeriesApi<"Line">;
  private frame: Frame | null = null;
  private decimals = 2;
  private crosshair = 0;

  constructor(
    readonly element: HTMLElement,
    private theme: ChartTheme,
    events: PaneEvents,
  ) {
    this.chart = createChart(element, {
      autoSize: true,
      // The link to TradingView is a condition of the library's licence.
      layout: { attributionLogo: true, fontFamily: "inherit" },
      crosshair: { mode: CrosshairMode.Normal },
      rightPriceScale: { scaleMargins: { top: 0.06, bottom: 0.24 } },
      timeScale: { minBarSpacing: 0.1, timeVisible: true, lockVisibleTimeRangeOnResize: true },
      // The page has its own keys.
      handleScroll: { vertTouchDrag: false },
    });
    this.volume = this.chart.addSeries(HistogramSeries, {
      priceScaleId: "volume",
      priceLineVisible: false,
      lastValueVisible: false,
    });
    this.chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.8, bottom: 0 }, visible: false });
    this.candles = this.chart.addSeries(CandlestickSeries, { priceLineVisible: false });
    this.vwap = this.chart.addSeries(LineSeries, {
      lineWidth: 1,
      priceLineVisible: false,
      lastValueVisible: false,
      crosshairMarkerVisible: false,
    });
    this.axis = this.chart.addSeries(LineSeries, {
      // The price scale ignores them.
      autoscaleInfoProvider: () => null,
      lineVisible: false,
      priceLineVisible: false,
      lastValueVisible: false,
      crosshairMarkerVisible: false,
    });
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => range && events.onRange(range));
    this.chart.subscribeCrosshairMove((event) => {
      // A position that was set by the program has no source event.
      if (event.sourceEvent || !event.point) events.onHover(event.point ? ((event.time as number) ?? null) : null);
    });
    this.chart.subscribeClick((event) => event.time !== undefined && events.onClick(event.time as number));
    this.applyDecimals();
    this.setTheme(theme);
  }

  setTheme(theme: ChartTheme): void {
    this.theme = theme;
    const line = { color: theme.grid };
    this.chart.applyOptions({
      layout: { background: { color: theme.background }, textColor: theme.text },
      grid: { vertLines: line, horzLines: line },
      rightPriceScale: { borderColor: theme.border },
      timeScale: { borderColor: theme.border },
    });
    this.candles.applyOptions({
      upColor: theme.up,
      downColor: theme.down,
      wickUpColor: theme.up,
      wickDownColor: theme.down,
      borderUpColor: theme.up,
      borderDownColor: theme.down,
    });
    this.vwap.applyOptions({ color: theme.vwap });
  }

  setLogScale(log: boolean): void {
    this.candles.priceScale().applyOptions({ mode: log ? PriceScaleMode.Logarithmic : PriceScaleMode.Normal });
  }

  setZone(zone: Zone): void {
    this.chart.applyOptions({
      localization: { timeFormatter: (time: number) => formatTime(time, zone) },
      timeScale: { tickMarkFormatter: (time: number, type: TickMarkType) => tickText(time, type, zone) },
    });
  }

  /** Draw the candles of a frame. A window without candle is a gap. */
  draw(frame: Frame, find: (time: number) => Drawn | undefined): void {
    const { theme } = this;
    const bars: CandlestickData[] = [];
    const volumes: HistogramData[] = [];
    const averages: LineData[] = [];
    let decimals = 0;
    for (let index = 0; index < frame.count; index += 1) {
      const seconds = frame.start + index * frame.step;
      const time = seconds as UTCTimestamp;
      const drawn = find(seconds);
      if (!drawn) {
        // The colour of a point is that of the line that leaves it: no line across a gap.
        const last = averages.at(-1);
        if (last) last.color = "transparent";
        continue;
      }
      const { candle, provisional } = drawn;
      const open = Number(candle.open_price);
      const close = Number(candle.close_price);
      const rises = close >= open;
      const bar = { time, open, high: Number(candle.high_price), low: Number(candle.low_price), close };
      if (provisional) {
        const color = rises ? theme.provisionalUp : theme.provisionalDown;
        bars.push({ ...bar, color, borderColor: theme.provisional, wickColor: theme.provisional });
      } else {
        bars.push(bar);
      }
      volumes.push({ time, value: Number(candle.volume), color: rises ? theme.upVolume : theme.downVolume });
      if (candle.vwap !== null) {
        averages.push({ time, value: Number(candle.vwap) });
      }
      if (decimals < MAX_DECIMALS) decimals = Math.max(decimals, decimalsOf(candle.close_price));
    }
    if (frame !== this.frame) {
      this.frame = frame;
      this.axis.setData(timesOf(frame).map((time) => ({ time, value: 1 })));
    }
    this.candles.setData(bars);
    this.volume.setData(volumes);
    this.vwap.setData(averages);
    if (decimals > 0 && decimals !== this.decimals) {
      this.decimals = Math.min(decimals, MAX_DECIMALS);
      this.applyDecimals();
    }
  }

  private applyDecimals(): void {
    const formatter = (value: number) => formatDecimal(value.toFixed(this.decimals), this.decimals);
    const priceFormat = { type: "custom" as const, formatter, minMove: 10 ** -this.decimals };
    this.candles.applyOptions({ priceFormat });
    this.vwap.applyOptions({ priceFormat });
  }

  setRange(from: number, to: number): void {
    this.chart.timeScale().setVisibleLogicalRange({ from, to });
  }

  /** Show the crosshair at a window, at the price if it has a candle. */
  showCrosshair(time: number | null, price: number | null): void {
    cancelAnimationFrame(this.crosshair);
    if (time === null) {
      this.chart.clearCrosshairPosition();
      return;
    }
    // The chart applies a new range with its next frame. Before, the window may be outside the old range.
    this.crosshair = requestAnimationFrame(() => {
      this.chart.setCrosshairPosition(price ?? 0, time as UTCTimestamp, this.candles);
    });
  }

  /** Return the width of the part with candles. */
  get plotWidth(): number {
    return this.chart.timeScale().width() || this.element.clientWidth;
  }

  remove(): void {
    cancelAnimationFrame(this.crosshair);
    this.chart.remove();
  }
}

function timesOf(frame: Frame): UTCTimestamp[] {
  return Array.from({ length: frame.count }, (_, index) => (frame.start + index * frame.step) as UTCTimestamp);
}

/** Return the text of a mark on the time axis. In local time, days do not begin at a mark, so it has date and time. */
function tickText(time: number, type: TickMarkType, zone: Zone): string {
  const parts = timeParts(time, zone);
  if (type === TickMarkType.Time || type === TickMarkType.TimeWithSeconds) return parts.time;
  const date = type === TickMarkType.DayOfMonth ? parts.date.slice(5) : parts.date.slice(0, 7);
  if (zone === "local") return parts.time === "00:00" ? parts.date.slice(5) : `${parts.date.slice(5)} ${parts.time}`;
  return type === TickMarkType.Year ? parts.date.slice(0, 4) : date;
}
