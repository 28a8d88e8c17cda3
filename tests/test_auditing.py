"""Verdicts: what they are made of, where they are kept, what the command refuses."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from ibrobust.checks import CHECKS, Case, Finding, audited, verdict_of
from ibrobust.commands.audit import main
from ibrobust.datasets import load_dataset
from ibrobust.errors import BadInput
from ibrobust.robustness.card import QueryCount
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.storage import joined
from tests.cards import asked_otherwise, card


def test_verdicts():
    def finding(passed: bool, means: str) -> Finding:
        return Finding(0.0 if passed else 0.1, 0.0, means, "")

    assert verdict_of([]) == "trusted"
    assert verdict_of([finding(True, "masked"), finding(True, "suspect")]) == "trusted"
    assert verdict_of([finding(True, "masked"), finding(False, "suspect")]) == "suspect"
    assert verdict_of([finding(False, "masked"), finding(False, "suspect")]) == "masked"


def test_a_verdict_on_a_shard_is_none_on_the_whole():
    rows = {"sample": range(8), "label": 0, "prediction": 0, "zero_gradient": False, "pgd": np.float32(0.1)}
    table, queries = pd.DataFrame(rows), {"pgd": QueryCount(forward=1, gradient=1)}
    first = asked_otherwise(BreakingRadii(table[:5], card(eps="0.1")), queries=queries, verdict="trusted")
    second = asked_otherwise(BreakingRadii(table[5:], card(eps="0.1")), queries=queries)
    assert joined([first]).card.verdict == "trusted"
    assert joined([first, second]).card.verdict is None
    assert joined([first, second]).card.queries["pgd"].forward == 2


def test_the_command_keeps_the_verdict_in_the_results(command, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch import nn\n\n"
        "def model():\n    torch.manual_seed(0)\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    few = load_dataset("digits").test[:12]
    np.savez(tmp_path / "few.npz", x=few.x.numpy(), y=few.y.numpy())
    words = ("audit", "--model", "mine.py:model", "--data", "few.npz", "--samples", "10")
    first = command(*words, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    (path,) = (tmp_path / "results" / "paper").glob("*.parquet")
    kept = json.loads(pq.read_schema(path).metadata[b"ibrobust"])
    findings = pd.read_csv(tmp_path / "results" / "audit.csv")
    assert kept["verdict"] in first.stdout
    assert [finding["name"] for finding in kept["audit"]["findings"]] == [
        name for name in CHECKS if name in set(findings["name"])
    ]
    written = (tmp_path / "results" / "audit.csv").read_bytes(), path.read_bytes()
    assert command(*words, cwd=tmp_path).stdout == first.stdout
    assert written == ((tmp_path / "results" / "audit.csv").read_bytes(), path.read_bytes())


@pytest.mark.parametrize(
    "words",
    [
        ("no-such-run",),
        ("--model", "x.py:f"),
        ("--protocol", "none", "--model", "x.py:f"),
        ("--data", "digits"),
    ],
)
def test_bad_input_is_one_line(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput) as refused:
        main(words)
    assert "\n" not in str(refused.value)


def test_a_finding_passes_up_to_its_threshold_and_is_called_as_its_check(monkeypatch):
    found = {
        "mine": Finding(0.2, 0.2, "suspect", "just so"),
        "other": Finding(0.3, 0.2, "masked", "too much"),
        "no": None,
    }
    checks = {name: lambda _case, found=finding: found for name, finding in found.items()}
    monkeypatch.setattr("ibrobust.checks.verdict.CHECKS", checks)
    rows = {"sample": [0], "label": 0, "prediction": 0, "zero_gradient": False, "pgd": np.float32(0.1)}
    claim = BreakingRadii(pd.DataFrame(rows), card(eps="0.1"))
    case = Case(torch.nn.Identity(), torch.zeros(1, 1, 1, 1), torch.zeros(1, dtype=torch.int64), claim)
    assert [(one.name, one.passed) for one in audited(case)] == [("mine", True), ("other", False)]
