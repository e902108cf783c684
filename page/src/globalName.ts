/** Name of the component in `globalThis`: the `name` of the entries in the Airflow plugin. Airflow shows it as the label. */
export const GLOBAL_NAME = "Candles";
