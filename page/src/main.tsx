import { CandlesPage } from "./CandlesPage";
import { GLOBAL_NAME } from "./globalName";
import cards from "./styles/cards.css?inline";
import chart from "./styles/chart.css?inline";
import coverage from "./styles/coverage.css?inline";
import page from "./styles/page.css?inline";

const STYLE_ID = "ohlcv-candles-style";

if (!document.getElementById(STYLE_ID)) {
  const element = document.createElement("style");
  element.id = STYLE_ID;
  element.textContent = page + chart + cards + coverage;
  document.head.append(element);
}

// Airflow looks for the component under the name of the plugin's entry, then here.
Reflect.set(globalThis, GLOBAL_NAME, CandlesPage);
Reflect.set(globalThis, "AirflowPlugin", CandlesPage);

export default CandlesPage;
