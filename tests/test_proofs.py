"""Proof saves work: no attack is made at a radius where it must fail, and every column stays what it is."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from ibrobust import breaking_radii
from ibrobust.certificates.certificate import certified_eps_N
from ibrobust.commands.evaluate import main as evaluate
from ibrobust.errors import BadInput

EPS = "0:0.2:5"


@pytest.fixture(scope="module")
def case():
    """A small network; of the images some are certain at all radii, some at a few, some at none."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    with torch.no_grad():
        model[1].weight.mul_(2)
    x = torch.rand(24, 1, 2, 2)
    y = model(x).argmax(1)
    y[0] = (y[0] + 1) % 3
    certified = certified_eps_N(model, x, y, EPS)
    assert len(set(certified.tolist())) >= 4
    assert certified[0] == 0 < (certified == np.float32(0.2)).sum()
    return model, x, y, certified


@pytest.mark.parametrize(
    ("attacks", "columns", "count"),
    [
        (["pgd", "deepfool"], "own", 24),
        (["pgd", "deepfool"], "standing", 24),
        (["pgd", "survivors"], "own", 5),  # It also ends where the linear programme was tried from every point.
    ],
)
def test_columns_are_the_same_and_queries_fewer(case, attacks, columns, count):
    model, x, y, certified = case[0], *(each[:count] for each in case[1:])
    how = {"eps": EPS, "attacks": attacks, "columns": columns, "keep_images": "each", "health": "ignore"}
    usual, less = (breaking_radii(model, x, y, **how, certified=proofs) for proofs in (None, certified))
    pd.testing.assert_frame_equal(usual.rows, less.rows)
    assert torch.equal(usual.images, less.images)
    assert less.card.queries["pgd"].gradient < usual.card.queries["pgd"].gradient
    assert usual.card.settings == less.card.settings


def test_where_everything_is_certain_nothing_is_attacked(case):
    model, x, y, _ = case
    proofs = np.full(len(x), 0.2, dtype=np.float32)
    table = breaking_radii(model, x, y, eps=EPS, attacks=["pgd", "deepfool"], certified=proofs, health="ignore")
    assert {name: count.gradient for name, count in table.card.queries.items() if name != "clean"} == {
        "pgd": 0,
        "deepfool": 0,
    }
    assert np.isinf(table.all_attacks_N[1:]).all()


def test_proofs_of_linf_say_nothing_of_l2(case):
    model, x, y, _ = case
    usual, other = (
        breaking_radii(model, x, y, eps=EPS, attacks=["pgd"], norm="l2", certified=proofs, health="ignore")
        for proofs in (None, np.ones(len(x), dtype=np.float32))
    )
    assert usual.card.queries == other.card.queries


def test_blocks_of_samples_have_their_own_proofs(case, monkeypatch):
    model, x, y, certified = case
    monkeypatch.setattr("ibrobust.robustness.question._BLOCK_PIXELS", 1)
    whole, cut = (
        breaking_radii(
            model, x, y, eps=EPS, attacks=["pgd"], certified=certified, batch_size=size, health="ignore"
        ).card.queries["pgd"]
        for size in (24, 5)
    )
    assert whole == cut


def test_bad_proofs_are_one_line(case, tmp_path):
    model, x, y, _ = case
    with pytest.raises(BadInput, match=r"certified has shape \(3,\); it is a radius for each of 24 samples"):
        breaking_radii(model, x, y, certified=np.zeros(3, dtype=np.float32))
    with pytest.raises(BadInput, match=r"--proofs: there are proofs for norm linf, .*this asks for norm l2, view mean"):
        evaluate(["zoo", "--proofs", "--norm", "l2", "--out", str(tmp_path / "out")])
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef make():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 10))\n"
    )
    with pytest.raises(BadInput, match="no bounds for the operation 'gelu'"):
        evaluate(["--model", f"{tmp_path}/net.py:make", "--data", "digits", "--proofs", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
