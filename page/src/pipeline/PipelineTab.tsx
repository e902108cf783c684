export function PipelineTab(_: { zone?: unknown; timeframes?: unknown; select?: unknown }) {
  return null;
}
