"""Release gates: exit code 3 and one line where a condition on the outcome does not hold."""

import shutil

import pytest

from ibrobust.checks import Finding
from ibrobust.experiments import audited_subjects, auditing
from ibrobust.experiments.subject import run_subject
from ibrobust.files import released_zoo
from ibrobust.robustness.storage import load_results
from ibrobust.subjects.zoo import load_run
from tests.refusals import RUN, exit_of, refused

PAPER = released_zoo() / "results" / "paper" / f"{RUN}.parquet"
SHARE = float(load_results(PAPER).robust_EN[5].mean())
"""What survives ε = 0.05."""


@pytest.fixture
def results(folder, monkeypatch):
    """A folder with one released result; nothing is drawn."""
    (folder / "results" / "paper").mkdir(parents=True)
    shutil.copy(PAPER, folder / "results" / "paper")
    monkeypatch.setattr("ibrobust.figures.style.save_figure", lambda *_: [])
    return folder


@pytest.mark.parametrize(
    ("floors", "code", "named"),
    [
        ([f"{SHARE}@0.05"], 0, []),
        ([f"{SHARE + 0.001}@0.05"], 3, [RUN, f"{SHARE:.4f} survive ε = 0.05", f"below {SHARE + 0.001:g}"]),
        (["0@0.1", "1@1/20"], 3, ["ε = 0.05", "below 1"]),
        (["1@0.05", "0.999@0.1"], 3, ["ε = 0.05", "ε = 0.1"]),
        (["0.5@0.055"], 2, ["0.5@0.055", RUN, "0.05, 0.06"]),
        (["0.5"], 2, ["'0.5'", "SHARE@EPS"]),
        (["1.5@0.05"], 2, ["'1.5@0.05'"]),
        (["nan@0.05"], 2, ["'nan@0.05'"]),
        (["0.5@0.1,0.2"], 2, ["'0.5@0.1,0.2'"]),
    ],
)
def test_report_ends_as_the_floor_says(results, capsys, monkeypatch, floors, code, named):
    words = [word for floor in floors for word in ("--fail-below", floor)]
    found, err = exit_of(capsys, monkeypatch, "report", *words)
    assert (found or 0) == code, err
    assert err.count("\n") == (code > 0), err
    assert err.startswith({0: "", 2: "error: ", 3: "not met: "}[code])
    for text in named:
        assert text in err
    if code == 3:
        assert (results / "report" / "leaderboard.csv").is_file(), "the work is done all the same"


def test_evaluate_refuses_a_floor_at_a_radius_that_it_does_not_try(folder, capsys, monkeypatch):
    refused(folder, capsys, monkeypatch, ["evaluate", "--eps", "0.1", "--fail-below", "0.5@0.2"], ["0.5@0.2", "0.1"])


def test_evaluate_holds_the_floor_against_what_it_has_evaluated_alone(results, capsys, monkeypatch):
    words = ["evaluate", "--eps", "0.05", "--samples", "8", "--attacks", "fgsm", "--out", "results"]
    assert not exit_of(capsys, monkeypatch, *words, "--fail-below", "0.1@0.05")[0]
    code, err = exit_of(capsys, monkeypatch, *words, "--fail-below", "1@0.05")
    assert code == 3
    assert err.splitlines()[-1].startswith(f"not met: {RUN} (fgsm, linf): ")
    assert "paper" not in err, "another question is not held against this evaluation"


@pytest.mark.parametrize(
    ("means", "required", "code"),
    [(None, "trusted", 0), ("suspect", "trusted", 3), ("masked", "trusted", 3), ("suspect", "suspect", 0),
     ("masked", "suspect", 3)],
)  # fmt: skip
def test_audit_ends_as_the_verdict_says(results, capsys, monkeypatch, means, required, code):
    claim = load_results(PAPER)
    finding = Finding(0.5, 0.5 if means is None else 0.05, means or "masked", "half of them fall", "effort")
    found = auditing.Audit(claim, 0.05, [finding])
    judged = claim.card.model_copy(update={"verdict": found.verdict, "audit": found.record})
    subject = run_subject(load_run(results / "runs" / RUN), data_dir=None, download=False)
    audited = audited_subjects.Audited(subject, found, type(claim)(claim.rows, judged), "")
    monkeypatch.setattr(audited_subjects, "audit_subjects", lambda *_, **__: iter([audited]))
    ended, err = exit_of(capsys, monkeypatch, "audit", "--require", required)
    assert (ended or 0) == code, err
    assert (results / "results" / "audit.csv").is_file()
    assert err.startswith(f"not met: {RUN} is {means}: half of them fall") == (code == 3)
