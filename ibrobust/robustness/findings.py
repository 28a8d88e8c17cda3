"""`audit.csv`: what audits found, a row per claim and check, and whether it supports the verdict in a results file.

A verdict counts only where it follows from its findings, and where the table beside the results holds those findings
for exactly the rows and the card that the file holds now.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ibrobust.robustness.card import FindingRecord, card_text
from ibrobust.robustness.settings import TOLD
from ibrobust.robustness.storage import Results
from ibrobust.tables import read_table, save_table

FINDINGS = "audit.csv"
_CLAIM = ["run", *(key for key in TOLD if key != "backend")]
_DIGEST = "results"
_COLUMNS = [*_CLAIM, "samples", *FindingRecord.model_fields, _DIGEST]
_SINCE = {"columns": "own", "kind": "", "error": "", _DIGEST: ""}
"""Columns that earlier versions did not write, and what stands for them there."""


def results_digest(results: Results) -> str:
    """Sixteen hex digits of the SHA-256 of all that a results file says but for its audit."""
    plain = results.card.model_copy(update={"verdict": None, "audit": None})
    digest = hashlib.sha256(card_text(plain).encode())
    for name, column in results.rows.items():
        values = column.astype(str) if isinstance(column.dtype, pd.CategoricalDtype) else column
        digest.update(f"{name} {column.dtype.name} ".encode())
        content = values.to_numpy()
        digest.update("\n".join(content).encode() if content.dtype == object else content.tobytes())
    return digest.hexdigest()[:16]


def findings_table(results: Results) -> pd.DataFrame:
    """What the audit in the card of these results found, as text with fixed digits."""
    card = results.card
    if card.audit is None:
        return pd.DataFrame(columns=_COLUMNS)
    claim = {"run": card.run, **card.settings.told}
    about = {**{key: claim[key] for key in _CLAIM}, "samples": card.audit.samples, _DIGEST: results_digest(results)}
    rows = pd.DataFrame([{**finding.model_dump(), **about} for finding in card.audit.findings], columns=_COLUMNS)
    rows[["value", "threshold"]] = rows[["value", "threshold"]].map("{:.4f}".format)
    rows["error"] = ["" if finding.error is None else f"{finding.error:.4f}" for finding in card.audit.findings]
    rows["kind"] = [finding.kind or "" for finding in card.audit.findings]
    return rows.astype(str).sort_values([*_CLAIM, "name"], ignore_index=True)


def earlier_findings(path: Path) -> pd.DataFrame:
    """The table in a file, as text.

    Raises:
        BadInput: the file is not a table of findings.
    """
    needed = [name for name in _COLUMNS if name not in _SINCE]
    table = read_table(path, columns=needed, dtype=str, keep_default_na=False)
    return table.assign(**{name: value for name, value in _SINCE.items() if name not in table})[_COLUMNS]


def save_findings(results: Results, path: Path) -> None:
    """Rows of this claim in place of earlier ones in a CSV file; sorted, with fixed digits."""
    new = findings_table(results)
    if path.is_file():
        old = earlier_findings(path)
        claim = pd.Series({"run": results.card.run, **results.card.settings.told})[_CLAIM]
        new = pd.concat([old[(old[_CLAIM] != claim).any(axis=1)], new])
    save_table(new.sort_values([*_CLAIM, "name"]), path)


def with_supported_verdict(results: Results, findings: pd.DataFrame | None) -> Results:
    """The results, their verdict taken away where the table of findings beside them does not hold what it rests on.

    Args:
        findings: the table in the folder of the results; None where there is none.
    """
    if results.card.verdict is None:
        return results
    wanted = findings_table(results)
    if findings is not None and len(wanted):
        claim = wanted[_CLAIM].iloc[0]
        held = findings[(findings[_CLAIM] == claim).all(axis=1)].sort_values("name", ignore_index=True)
        if held[_COLUMNS].equals(wanted[_COLUMNS]):
            return results
    return replace(results, card=results.card.model_copy(update={"verdict": None}))
