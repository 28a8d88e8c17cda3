"""`--proofs auto`: proofs where they cost less than what they save, by counts, and the same columns either way."""

import pandas as pd
import pytest
import torch
from torch import nn

from ibrobust.datasets import Split
from ibrobust.experiments import blocks
from ibrobust.experiments import paying_proofs as paying_proofs_file
from ibrobust.experiments.evaluation import evaluate_subjects
from ibrobust.experiments.paying_proofs import paying_proofs
from ibrobust.experiments.progress import Progress, Watch
from ibrobust.experiments.subject import foreign_subject
from ibrobust.robustness.question import Execution
from ibrobust.robustness.settings import make_settings
from ibrobust.robustness.storage import load_results


@pytest.fixture(scope="module")
def case():
    """A small network that is certain of its labels at .01 and of none at .9."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    x = torch.rand(16, 1, 4, 4)
    return model, Split(x, model(x).argmax(1))


@pytest.mark.parametrize(
    ("radii", "gradients", "prove", "said"),
    [
        ([0.0, 0.0001], 500.0, True, "proofs first: .*100% of 8 samples are certain"),
        ([0.9], 500.0, False, "no proofs: .* and 0% of 8 samples"),
        ([0.0001], 1.0, False, r"no proofs: bounds take as long as \d+ gradients a sample, attacks 1$"),
    ],
)
def test_proofs_are_chosen_where_they_cost_less_than_they_save(case, radii, gradients, prove, said):
    model, samples = case
    choice = paying_proofs(model, samples, radii, gradients)
    assert choice.prove == prove
    assert pd.Series([choice.why]).str.contains(said).all(), choice.why
    assert paying_proofs(model, samples, radii, gradients) == choice


def test_a_model_without_a_certificate_is_attacked_as_ever(case):
    model = nn.Sequential(case[0], nn.GELU())
    assert paying_proofs(model, case[1], [0.01], 500.0).why.startswith("no proofs: no certificate for Sequential")


NET = """
import torch
from torch import nn
def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)).eval()
"""


def test_an_evaluation_proves_where_it_pays(tmp_path, monkeypatch):
    """All that such a network gets right is certain at a tiny radius; at a large one nothing is. What blocks are given
    says whether they are proven first, however few they are."""
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.setattr(blocks, "_TOLD_EVERY", -1)
    subject = foreign_subject(f"{tmp_path}/net.py:make", "digits", data_dir=None, download=False)
    for eps, usual in ((1e-5, "always"), (0.9, "never")):
        settings = make_settings({"attacks": ("pgd",), "eps": (eps,), "restarts": 20})
        found, said = {}, []
        for proofs in ("never", "auto", "always"):
            told: list[Progress] = []
            watch = Watch(say=said.append, tell=told.append)
            ((_, path, _),) = evaluate_subjects(
                [subject], (0, 12), settings, Execution(proofs=proofs), out=tmp_path / f"{eps}{proofs}", watch=watch
            )
            found[proofs] = load_results(path)
            pd.testing.assert_frame_equal(found[proofs].rows, found["never"].rows)
            # Bounds come first, four samples at a time, and are half of the work.
            bounds = [each.done for each in told if each.doing == "bounds"]
            assert bounds == ([] if "never" in (proofs, usual if proofs == "auto" else proofs) else [2, 4, 6])
        assert found["auto"].card == found[usual].card
        assert found["always"].card.queries["pgd"].gradient <= found["never"].card.queries["pgd"].gradient
        assert (found["always"].card == found["never"].card) == (usual == "never")
        assert len(said) == 1
        assert said[0].startswith(f"net-make-digits: {'proofs first' if usual == 'always' else 'no proofs'}: ")


def test_the_counter_of_operations_is_loaded_where_it_counts():
    """Importing it writes a line to stderr where a torch for GPUs finds no triton, as on Windows."""
    assert "FlopCounterMode" not in vars(paying_proofs_file)
