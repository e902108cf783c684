/** What the keys of the chart do. */

/** The operations of the chart that have a key. */
export interface Operations {
  moveCursor: (windows: number) => void;
  pan: (screens: number) => void;
  zoom: (factor: number) => void;
  goTo: (end: "first" | "newest") => void;
  clearCursor: () => void;
  pick: () => void;
}

export interface Key {
  key: string;
  shiftKey: boolean;
  ctrlKey: boolean;
  altKey: boolean;
  metaKey: boolean;
}

const ZOOM = 0.7;
const SCREEN = 0.9;

/** Carry out a key. Return whether it has a meaning. */
export function pressKey(chart: Operations, event: Key): boolean {
  // Keys of the browser.
  if (event.ctrlKey || event.altKey || event.metaKey) return false;
  const windows = event.shiftKey ? 10 : 1;
  switch (event.key) {
    case "ArrowLeft":
      chart.moveCursor(-windows);
      return true;
    case "ArrowRight":
      chart.moveCursor(windows);
      return true;
    case "PageUp":
      chart.pan(-SCREEN);
      return true;
    case "PageDown":
      chart.pan(SCREEN);
      return true;
    case "+":
    case "=":
      chart.zoom(ZOOM);
      return true;
    case "-":
    case "_":
      chart.zoom(1 / ZOOM);
      return true;
    case "Home":
      chart.goTo("first");
      return true;
    case "End":
      chart.goTo("newest");
      return true;
    case "Enter":
      chart.pick();
      return true;
    case "Escape":
      chart.clearCursor();
      return true;
    default:
      return false;
  }
}
