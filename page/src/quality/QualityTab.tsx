export function QualityTab(_: { zone?: unknown; timeframes?: unknown; select?: unknown }) {
  return null;
}
