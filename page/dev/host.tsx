/** A page that stands for Airflow's: `?mode=dark` is its colour mode, `?dag=ohlcv_1h` opens the tab of a DAG. */

import { createRoot } from "react-dom/client";
import { BrowserRouter } from "react-router-dom";
import CandlesPage from "../src/main";

const query = new URLSearchParams(window.location.search);
document.documentElement.classList.add(query.get("mode") === "dark" ? "dark" : "light");
const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <BrowserRouter>
      <CandlesPage dagId={query.get("dag") ?? undefined} />
    </BrowserRouter>,
  );
}
