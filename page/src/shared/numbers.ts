/** Texts of numbers. Decimals of the API stay texts: a float would round them. */

/** Return a decimal with thousands separators and without trailing zeros beyond `minimum` decimals. */
export function formatDecimal(text: string | null | undefined, minimum = 0): string {
  if (text === null || text === undefined) return "–";
  const match = /^(-?)(\d+)(?:\.(\d*))?$/.exec(text);
  if (!match) return text;
  const [, sign = "", whole = "0", fraction = ""] = match;
  const decimals = fraction.replace(/0+$/, "").padEnd(minimum, "0");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return `${sign}${grouped}${decimals ? `.${decimals}` : ""}`;
}

/** Return the number of decimals that a decimal needs. */
export function decimalsOf(text: string): number {
  const fraction = text.split(".")[1] ?? "";
  return fraction.replace(/0+$/, "").length;
}

export function formatCount(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : formatDecimal(String(Math.round(value)));
}

/** Return for example "1 warning" or "2,000 warnings". */
export function formatNumberOf(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? "" : "s"}`;
}

const UNITS = ["B", "kB", "MB", "GB", "TB"];

export function formatBytes(value: number): string {
  let amount = value;
  let unit = 0;
  while (amount >= 1000 && unit < UNITS.length - 1) {
    amount /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? amount : amount.toFixed(1)} ${UNITS[unit]}`;
}

export function formatPercent(part: number, whole: number): string {
  if (whole === 0) return "–";
  // 999 of 1000 is not 100 %.
  const share = part === whole ? 100 : Math.min(99.9, (100 * part) / whole);
  return `${Number(share.toFixed(1))} %`;
}
