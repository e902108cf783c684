const KEYS: [string, string][] = [
  ["← →", "move the crosshair by one window (with Shift: ten)"],
  ["+ −", "zoom in and out"],
  ["Page Up, Page Down", "move by a screen"],
  ["Home, End", "first and newest candle"],
  ["Enter", "the versions of the candle at the crosshair, as a click on a candle"],
  ["Esc", "close the versions, then hide the crosshair"],
];

/** The keys of the chart, and the notice that the chart library asks for. */
export function ChartHelp() {
  return (
    <footer className="oc-foot">
      <details>
        <summary>Keys</summary>
        <dl className="oc-keys">
          {KEYS.map(([key, meaning]) => (
            <div key={key}>
              <dt>{key}</dt>
              <dd>{meaning}</dd>
            </div>
          ))}
        </dl>
      </details>
      <a href="https://www.tradingview.com/" target="_blank" rel="noreferrer">
        Charts by TradingView Lightweight Charts™
      </a>
    </footer>
  );
}
