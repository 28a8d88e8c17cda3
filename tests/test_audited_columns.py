"""Audits of standing columns: what single attacks break is found again, and which columns are audited is said."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ibrobust.attacks import ATTACKS
from ibrobust.checks import CHECKS, Case
from ibrobust.experiments.evaluation import evaluate_subject
from ibrobust.experiments.stored_claims import with_stored_columns
from ibrobust.experiments.subject import foreign_subject
from ibrobust.robustness.breaking_radii import breaking_radii
from ibrobust.robustness.question import Execution
from ibrobust.robustness.settings import make_settings
from tests.oracles import trained_digits

N = 30


@pytest.fixture(scope="module")
def digits():
    model, x, y = trained_digits()
    return model, x[:N], y[:N]


@pytest.fixture
def pgd_that_does_nothing(monkeypatch):
    """FGSM then breaks more than BIM and PGD together: what hidden gradients look like."""
    for name in ("bim", "pgd"):
        still = replace(ATTACKS[name], function=lambda attempt, **settings: attempt.x.clone())
        monkeypatch.setitem(ATTACKS._entries, name, still)


def cases(digits, **asked) -> list[Case]:
    model, x, y = digits
    tables = [breaking_radii(model, x, y, eps="0:0.2", columns=columns, **asked) for columns in ("own", "standing")]
    return [Case(model, x, y, table) for table in tables]


def test_fgsm_beside_a_pgd_that_fails_is_masked_whatever_the_columns(digits, pgd_that_does_nothing):
    own, standing = (CHECKS["fgsm-beats-pgd"](case) for case in cases(digits, attacks=["fgsm", "bim", "pgd"]))
    assert own == standing
    assert not standing.passed
    assert standing.value > 0.5


@pytest.fixture(scope="module", params=[["square", "pgd", "fgsm"], ["fgsm", "deepfool", "bim", "pgd"]], ids="-".join)
def both(digits, request):
    """Cases with own and with standing columns; Square is short."""
    short = replace(ATTACKS["square"], settings={**ATTACKS["square"].settings, "queries": 30})
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(ATTACKS._entries, "square", short)
        yield cases(digits, attacks=request.param)


@pytest.mark.parametrize("name", ["fgsm-beats-pgd", "fgsm-gap", "margin-loss", "rescaled-logits", "square"])
def test_checks_that_read_single_attacks_find_the_same_in_either_columns(both, name):
    own, standing = both
    assert CHECKS[name](own) == CHECKS[name](standing)


def test_own_answers_are_those_of_an_evaluation_with_own_columns(digits):
    own, standing = cases(digits)
    for radius in (0.04, 0.1):
        for attacks in (("bim",), ("pgd",), ("bim", "pgd"), ("fgsm",), ("fgsm", "deepfool")):
            assert np.array_equal(own.claimed.robust_N(radius, attacks), standing.claimed.robust_N(radius, attacks)), (
                attacks
            )


@pytest.fixture
def subject(tmp_path):
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n\n"
        "def make():\n    torch.manual_seed(0)\n    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))\n"
    )
    generator = torch.Generator().manual_seed(0)
    np.savez(tmp_path / "few.npz", x=torch.rand(6, 1, 4, 4, generator=generator).numpy(), y=np.arange(6) % 3)
    return foreign_subject(f"{tmp_path}/net.py:make", f"{tmp_path}/few.npz", data_dir=None, download=False)


def test_which_columns_are_audited_is_chosen_and_said(subject, tmp_path):
    own, standing = (make_settings({"eps": "0.1", "columns": columns}) for columns in ("own", "standing"))

    def chosen(settings, named: bool) -> tuple[str, str]:
        found, told = with_stored_columns(subject, settings, tmp_path, named=named)
        return found.columns, told

    assert chosen(own, named=False) == ("own", ", own columns")
    evaluate_subject(subject, None, standing, Execution(), out=tmp_path)
    assert chosen(own, named=False) == ("standing", ", standing columns; what single attacks break is computed again")
    also = "; standing ones are stored, too (--columns standing)"
    assert chosen(own, named=True) == ("own", f", own columns{also}")
    evaluate_subject(subject, None, own, Execution(), out=tmp_path)
    assert chosen(own, named=False) == ("own", f", own columns{also}")
    assert chosen(standing, named=True)[1].endswith("; own ones are stored, too (--columns own)")
