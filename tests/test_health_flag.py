"""`--health ignore`: a model that is refused is evaluated, audited and certified all the same, and its card says so."""

import numpy as np
import pytest

from ibrobust.commands import certify, evaluate
from ibrobust.experiments.audited_subjects import ToAudit, audit_subjects
from ibrobust.experiments.subject import unexamined_subject
from ibrobust.robustness.health import IGNORED
from ibrobust.robustness.settings import make_settings
from ibrobust.robustness.storage import load_results
from tests.linear_truth import X, Y
from tests.refusals import exit_of

CUT = """
from torch import nn
from tests.linear_truth import Linear
make = lambda: Linear(before=lambda x: x.detach() - 0.5)
plain = lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Softmax(1))
"""
WORDS = ("--data", "mine.npz", "--out", "out", "--eps", "0.12", "--attacks", "fgsm")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(CUT)
    np.savez("mine.npz", x=X.numpy(), y=Y.numpy())
    return tmp_path


def test_a_refused_model_is_evaluated_where_its_health_is_ignored(folder, capsys, monkeypatch):
    words = ("evaluate", "--model", "net.py:make", *WORDS)
    code, err = exit_of(capsys, monkeypatch, *words)
    assert code == 2
    assert "no gradient reaches its pixels" in err
    assert err.endswith("(--health ignore on the command line)\n")
    assert not (folder / "out").exists()
    monkeypatch.setattr("ibrobust.commands.evaluate.print_report", lambda *_args, **_settings: None)
    evaluate.main([*words[1:], "--health", "ignore"])
    assert f"warning: net-make-mine: {IGNORED}" in capsys.readouterr().err
    found = load_results(folder / "out" / "fgsm" / "net-make-mine.parquet")
    assert found.card.model.warnings == [IGNORED]
    assert found.robust_EN.all(), "FGSM has no gradient to go by"


def test_an_audit_ignores_it_likewise(folder, monkeypatch):
    monkeypatch.setattr("ibrobust.experiments.audited_subjects.CHECKS", {"zero-gradient": None})
    subject = unexamined_subject("net.py:make", "mine.npz", data_dir=None, download=False)
    claims = [ToAudit(subject, None, make_settings({"eps": "0.12", "attacks": "fgsm"}))]
    (found,) = audit_subjects(claims, device="cpu", samples=20, out=folder / "out")
    assert [finding.name for finding in found.audit.findings] == ["zero-gradient"]
    assert found.audit.warnings == []
    assert found.results.card.model.warnings == [IGNORED]


def test_a_run_is_always_looked_at(folder, capsys, monkeypatch):
    code, err = exit_of(capsys, monkeypatch, "evaluate", "--health", "ignore")
    assert (code, err) == (2, "error: --health ignore: a run is always looked at; --health goes with --model\n")
    with pytest.raises(SystemExit):
        certify.main(["--help"])
    assert "--health {check,ignore}" in capsys.readouterr().out
