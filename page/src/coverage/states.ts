/** States of a series in an hour, and how they are drawn. */

/** Height of a row. The upper part is for the marks of notes. */
export const ROW_HEIGHT = 20;

export interface StateStyle {
  /** Part of the names of the style classes. */
  name: string;
  meaning: string;
  /** Upper and lower edges of the bars in a row. Their shape tells the states apart without colours. */
  bars: [number, number][];
  problem: boolean;
}

/** The states, worst first. */
export const STATES: Record<string, StateStyle> = {
  "no data": {
    name: "no-data",
    meaning: "no trade of any series of this exchange",
    bars: [[4, 20]],
    problem: true,
  },
  "sequence gaps": {
    name: "gaps",
    meaning: "numbers of the source are missing",
    bars: [
      [4, 10],
      [14, 20],
    ],
    problem: true,
  },
  silent: {
    name: "silent",
    meaning: "no trade of this series, but of others of the exchange",
    bars: [[15, 20]],
    problem: true,
  },
  unknown: {
    name: "unknown",
    meaning: "the trades have no numbers, or these do not tell",
    bars: [[11, 13]],
    problem: false,
  },
  "source expired": {
    name: "expired",
    meaning: "the trades were deleted after they were counted",
    bars: [
      [7, 9],
      [15, 17],
    ],
    problem: false,
  },
  "no gap": {
    name: "no-gap",
    meaning: "contiguous numbers, also at both ends of the hour",
    bars: [[7, 17]],
    problem: false,
  },
};

export const NOTE_BAR: [number, number] = [0, 3];

/** Return whether a state is one to look at. */
export function isProblem(state: string | null | undefined): boolean {
  return state != null && STATES[state]?.problem === true;
}
