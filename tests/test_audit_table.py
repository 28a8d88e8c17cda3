"""The table of audits: models whose truth is known, small; what counts as a false alarm and as a miss."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from benchmarks import audits
from benchmarks.audited.adaptive import adaptive_robustness
from benchmarks.audited.defence import Trained
from benchmarks.audited.kinds import KINDS
from ibrobust.attacks import ATTACKS
from ibrobust.checks.stand_ins import STAND_INS
from tests.conftest import ROOT

TINY = {
    "apgd-ce": {"steps": 5}, "apgd-t": {"steps": 5, "targets": 2}, "fab-t": {"steps": 2, "targets": 2},
    "square": {"queries": 40},
    "soft-t": {"targets": 1, "steps": 5},
}  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> Trained:
    return Trained()


@pytest.mark.parametrize(("claim", "verdict", "outcome"), [
    (0.45, "trusted", "right"), (0.46, "trusted", "missed"), (0.46, "suspect", "found"),
    (0.45, "suspect", "false alarm"), (0.3, "masked", "false alarm"),
])  # fmt: skip
def test_a_verdict_is_right_where_it_agrees_with_the_truth(claim: float, verdict: str, outcome: str) -> None:
    assert audits.outcome(claim, 0.4, verdict) == outcome


@pytest.mark.parametrize(
    ("name", "outcome", "note"), [("logits × 300", "right", "zero-gradient"), ("hard votes", "found", "zero-gradient")]
)
def test_large_logits_are_no_false_alarm_and_hard_votes_no_miss(trained, monkeypatch, name, outcome, note) -> None:
    monkeypatch.setattr(audits, "_SHORT", TINY)
    for own, steps in {"straight-through": 20, "neighbourhood": 2, "answers": 3}.items():
        monkeypatch.setitem(STAND_INS, own, replace(STAND_INS[own], settings={"steps": steps}))
    usual = ATTACKS["square"]
    with audits.shortened():
        (row,) = audits.rows_of(name, trained, 24, ["paper"])
    assert ATTACKS["square"] is usual
    assert (row["outcome"], row["verdict"]) == (outcome, "trusted" if outcome == "right" else "masked"), row
    assert note in row["notes"]
    assert 0 < row["passes a sample"] < 20_000
    text = audits.printed(pd.DataFrame([row]))
    assert text.endswith(f"1 models, 1 claims: {int(outcome == 'right')} right, {int(outcome == 'found')} found, "
                         "0 false alarm, 0 missed")  # fmt: skip


def test_the_exact_truth_of_black_and_white_pixels_is_that_of_the_image_that_proves_it(trained) -> None:
    defence = KINDS["black and white, linear"](trained)
    x, y = trained.test(40)
    layer = defence.model.parts[0][1]
    robust = adaptive_robustness(defence, x, y, 0.1).bool()
    wrong = torch.zeros(len(x), dtype=torch.bool)
    for rival in range(10):
        up = (layer.weight[rival] - layer.weight[y]).view_as(x) > 0
        image = torch.where(up, x + 0.1, x - 0.1).clamp(0, 1)
        wrong |= defence.model(image).argmax(1) != y
    assert torch.equal(robust, ~wrong)
    assert 0.3 < robust.float().mean() < 0.9


def test_the_page_shows_the_released_rows_and_their_outcomes_follow_from_them(capsys):
    rows = pd.read_csv(audits.RELEASED, keep_default_na=False)
    assert not rows.duplicated(["model", "claim by", "steps"]).any()
    follows = [audits.outcome(row["claim"], row["truth"], row["verdict"]) for _, row in rows.iterrows()]
    assert follows == list(rows["outcome"])
    stands = rows["evidence"].str.partition(" ")[0]
    assert set(stands[rows["verdict"] == "trusted"]) == {"supported"}
    assert set(stands[rows["verdict"] == "masked"]) <= {"undercut", "untestable"}
    audits.main(["--read", "--quarter"])
    table = capsys.readouterr().out
    page = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    assert table.rstrip() in page
    shown = rows[(rows["steps"] == "a quarter") & (rows["claim by"] == "strict")]
    assert list(shown["model"]) == [name for name in KINDS if name in set(shown["model"])]
    assert (shown["outcome"] == "false alarm").sum() <= 1
    assert (shown["outcome"] == "missed").sum() == 0
    audits.main(["--read", "--claims", "paper", "strict"])
    told = capsys.readouterr().out.splitlines()[-1]
    assert told in page


def test_rows_that_the_file_holds_are_not_measured_again(tmp_path, monkeypatch, capsys):
    asked = []

    def measured(name, _trained, samples, protocols, steps):
        asked.append((name, tuple(protocols), steps))
        for protocol in protocols:
            yield {"model": name, "claim by": protocol, "steps": steps, "samples": samples, "claim": 0.5, "truth": 0.5,
                   "evidence": "supported", "verdict": "trusted", "notes": "", "outcome": "right",
                   "passes a sample": 1}  # fmt: skip

    monkeypatch.setattr(audits, "rows_of", measured)
    kept = ["--rows", str(tmp_path / "rows.csv"), "--only", "linear"]
    for words in (["--quarter"], ["--quarter"], [], ["--claims", "paper", "strict"]):
        audits.main([*words, *kept])
    assert asked == [
        ("linear", ("strict",), "a quarter"),
        ("linear", ("strict",), "all"),
        ("linear", ("paper",), "all"),
    ]
    assert capsys.readouterr().out.splitlines()[-1].startswith("1 models, 3 claims: 3 right")
