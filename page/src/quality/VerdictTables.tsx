import type { Finding, RuleResult } from "../api/types";
import { formatCount, formatDecimal } from "../shared/numbers";
import { formatIso, type Zone } from "../shared/times";

const SEVERITIES: Record<string, string> = { FAIL: "failure", WARN: "warning" };

/** The rules with their number of findings, those with findings first. A database may have changed their order. */
export function Rules({ rules }: { rules: Record<string, RuleResult> }) {
  const ordered = Object.entries(rules).sort(
    ([name, rule], [otherName, other]) => other.findings - rule.findings || name.localeCompare(otherName),
  );
  if (ordered.length === 0) return null;
  const failing = ordered.filter(([, rule]) => rule.findings > 0).length;
  return (
    <details open={failing > 0}>
      <summary>
        {ordered.length} rules, {failing} with findings
      </summary>
      <div className="oc-table">
        <table>
          <thead>
            <tr>
              <th scope="col">Rule</th>
              <th scope="col">Severity</th>
              <th scope="col" className="oc-number">
                Findings
              </th>
            </tr>
          </thead>
          <tbody>
            {ordered.map(([name, rule]) => (
              <tr key={name}>
                <th scope="row" title={rule.description}>
                  {name}
                </th>
                <td>{SEVERITIES[rule.severity] ?? rule.severity}</td>
                <td className={rule.findings > 0 ? "oc-number oc-late" : "oc-number"}>{formatCount(rule.findings)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

interface FindingsProps {
  findings: Finding[];
  total: number;
  zone: Zone;
  onOpen: (finding: Finding) => void;
}

/** Candles that violate a rule. A click shows one in the chart. */
export function Findings({ findings, total, zone, onOpen }: FindingsProps) {
  return (
    <>
      <h3>
        Failing candles
        {total > findings.length && <span className="oc-muted"> (the first {findings.length})</span>}
      </h3>
      <div className="oc-table">
        <table>
          <thead>
            <tr>
              <th scope="col">Window</th>
              <th scope="col">Series</th>
              <th scope="col">Rule</th>
              <th scope="col" className="oc-number">
                Stored
              </th>
              <th scope="col" className="oc-number">
                Expected
              </th>
            </tr>
          </thead>
          <tbody>
            {findings.map((finding) => (
              <tr key={`${finding.rule} ${finding.symbol} ${finding.exchange} ${finding.window_start}`}>
                <td>
                  <button type="button" className="oc-link" onClick={() => onOpen(finding)} title="Show in the chart">
                    {formatIso(finding.window_start, zone)}
                  </button>
                </td>
                <td>
                  {finding.symbol} · {finding.exchange}
                </td>
                <td>{finding.rule}</td>
                <td className="oc-number">{formatDecimal(finding.stored)}</td>
                <td className="oc-number">{formatDecimal(finding.expected)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}
