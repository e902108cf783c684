import { CandlesPage } from "./CandlesPage";
import { GLOBAL_NAME } from "./globalName";
import styles from "./style.css?inline";

const STYLE_ID = "ohlcv-candles-style";

if (!document.getElementById(STYLE_ID)) {
  const element = document.createElement("style");
  element.id = STYLE_ID;
  element.textContent = styles;
  document.head.append(element);
}

// Airflow looks for the component under the name of the plugin's entry, then here.
Reflect.set(globalThis, GLOBAL_NAME, CandlesPage);
Reflect.set(globalThis, "AirflowPlugin", CandlesPage);

export default CandlesPage;
