"""What findings add up to: the strongest counter-attack with its interval, controls, notes; and older files."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ibrobust.checks import Finding, evidence_of, verdict_of
from ibrobust.files import released_zoo
from ibrobust.robustness.card import AuditRecord, FindingRecord, card_of, card_text
from ibrobust.robustness.findings import (
    earlier_findings,
    findings_table,
    results_digest,
    save_findings,
    with_supported_verdict,
)
from ibrobust.robustness.statistics import paired_error
from ibrobust.robustness.storage import load_results

STRICT = released_zoo() / "results" / "strict"


def finding(kind, value, *, name="one", means="masked", error=0.04) -> Finding:
    return Finding(value, 0.05, means, f"{name} found it", name, kind, error if kind == "attack" else None)


SMALL = finding("attack", 0.03, name="small", means="suspect")
LARGE = finding("attack", 0.12, name="large", means="suspect")
CONTROL = finding("control", 0.5, name="control")
NOTE = finding("note", 1.0, name="note")


@pytest.mark.parametrize(
    ("findings", "evidence", "verdict"),
    [
        ([], "supported (nothing to attack)", "trusted"),
        ([SMALL], "supported (counter-attacks break 0.03 ± 0.04 more at most)", "trusted"),
        ([SMALL, NOTE], "supported (counter-attacks break 0.03 ± 0.04 more at most)", "trusted"),
        ([SMALL, LARGE, NOTE], "undercut by 0.12 ± 0.04 (large)", "suspect"),
        ([LARGE, finding("attack", 0.2, name="larger")], "undercut by 0.20 ± 0.04 (larger)", "masked"),
        ([SMALL, CONTROL], "untestable (control)", "masked"),
        ([LARGE, CONTROL], "undercut by 0.12 ± 0.04 (large)", "masked"),
        ([replace(CONTROL, value=0.05)], "supported (nothing to attack)", "trusted"),
    ],
)
def test_a_claim_is_doubted_by_what_breaks_more_or_where_nothing_could_have_been_found(findings, evidence, verdict):
    assert str(evidence_of(findings)) == evidence
    assert verdict_of(findings) == verdict


def test_the_interval_is_of_the_paired_difference():
    """By hand: 6 of 98 samples differ, and half a sample is added to each of the four cells (Agresti & Min 2005)."""
    difference = np.array([1] * 6 + [0] * 92)
    mean, square = 6 / 100, 7 / 100
    assert paired_error(difference) == pytest.approx(1.959964 * np.sqrt((square - mean**2) / 100), rel=1e-6)
    assert paired_error(np.zeros(98)) == pytest.approx(1.959964 * np.sqrt(0.01 / 100), rel=1e-6)
    assert paired_error(-difference) == paired_error(difference)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    drawn = np.random.default_rng(0).multinomial(200, [0.02, 0.1, 0.88], size=2000)
    held = []
    for worse, better, same in drawn:
        difference = np.repeat([-1, 1, 0], [worse, better, same])
        held.append(abs(difference.mean() - 0.08) <= paired_error(difference))
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


@pytest.fixture
def released():
    return load_results(next(STRICT.glob("digits-mlp-l2-g0.1-*.parquet")))


def test_findings_of_before_there_were_kinds_keep_their_verdict_and_their_bytes(released):
    """All failed checks decide there, a note as much as an attack: the new rule cannot be derived."""
    card = released.card
    assert all(one.kind is None for one in card.audit.findings)
    assert evidence_of(card.audit.findings) is None
    assert "kind" not in json.loads(card_text(card))["audit"]["findings"][0]
    old = [
        *card.audit.findings,
        FindingRecord(name="slope", value=0.5, threshold=0.2, passed=False, means="suspect", sentence=""),
    ]
    assert verdict_of(old) == "suspect"
    table = earlier_findings(STRICT.parent / "audit.csv")
    assert with_supported_verdict(released, table).card.verdict == "trusted"
    assert findings_table(released)["kind"].unique().tolist() == [""]


def test_kinds_and_intervals_are_kept_and_support_the_verdict(released, tmp_path):
    records = [
        FindingRecord(passed=one.passed, **{key: value for key, value in vars(one).items() if value is not None})
        for one in (LARGE, CONTROL, NOTE)
    ]
    audit = AuditRecord(samples=500, eps=0.1, findings=records)
    judged = replace(released, card=released.card.model_copy(update={"verdict": verdict_of(records), "audit": audit}))
    assert card_of(card_text(judged.card)).audit == audit
    assert results_digest(judged) == results_digest(released), "of all but the audit"
    path = tmp_path / "audit.csv"
    save_findings(judged, path)
    table = pd.read_csv(path, keep_default_na=False, dtype=str).set_index("name")
    assert table.loc["large", ["kind", "error"]].tolist() == ["attack", "0.0400"]
    assert table.loc["note", ["kind", "error"]].tolist() == ["note", ""]
    assert with_supported_verdict(judged, earlier_findings(path)).card.verdict == "masked"
    tampered = earlier_findings(path).assign(kind="note")
    assert with_supported_verdict(judged, tampered).card.verdict is None
