/** Colours of the chart. It draws on a canvas, which knows no CSS variables, so they are resolved here. */

export interface ChartTheme {
  background: string;
  text: string;
  grid: string;
  border: string;
  up: string;
  down: string;
  upVolume: string;
  downVolume: string;
  vwap: string;
  provisional: string;
  provisionalUp: string;
  provisionalDown: string;
}

/** Return any CSS colour as `rgba(…)`: draw it on one pixel and read that. */
function toRgba(context: CanvasRenderingContext2D, color: string): string {
  context.clearRect(0, 0, 1, 1);
  context.fillStyle = "#808080";
  context.fillStyle = color;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue, alpha = 255] = context.getImageData(0, 0, 1, 1).data;
  return `rgba(${red}, ${green}, ${blue}, ${alpha / 255})`;
}

export function readTheme(element: Element): ChartTheme {
  const styles = getComputedStyle(element);
  const canvas = document.createElement("canvas");
  canvas.width = 1;
  canvas.height = 1;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const color = (name: string) => {
    const value = styles.getPropertyValue(`--oc-${name}`).trim();
    return context ? toRgba(context, value) : value;
  };
  return {
    background: color("bg"),
    text: color("fg-muted"),
    grid: color("grid"),
    border: color("border"),
    up: color("up"),
    down: color("down"),
    upVolume: color("up-soft"),
    downVolume: color("down-soft"),
    vwap: color("vwap"),
    provisional: color("provisional"),
    provisionalUp: color("up-soft"),
    provisionalDown: color("down-soft"),
  };
}

/** Call back when Airflow changes between light and dark. Return a function that stops this. */
export function watchColorMode(changed: () => void): () => void {
  const observer = new MutationObserver(changed);
  observer.observe(document.documentElement, { attributes: true, attributeFilter: ["class", "style", "data-theme"] });
  return () => observer.disconnect();
}
