"""Arguments as people write them mean what they say, or are refused in one line that names the argument."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ibrobust
from ibrobust.attacks import ATTACKS
from ibrobust.errors import BadInput
from ibrobust.robustness.results import BreakingRadii

SIGNS = torch.tensor([1.0, -1.0] * 8)
EXACT = torch.tensor([0.03, 0.05, 0.07, 0.11] * 4)
Y = torch.arange(16) % 2
X = (0.5 + (EXACT * (1 - 2 * Y))[:, None] * SIGNS).view(-1, 1, 4, 4)
RADII = [0.02, 0.04, 0.06, 0.08, 0.12]


class Net(nn.Module):
    """Logits (f, −f) with f = Σ ± (x − ½): an image ½ ± r has the breaking radius r in L∞ and 4 r in L2."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(SIGNS.clone())

    def forward(self, x: Tensor) -> Tensor:
        f = ((x - 0.5).flatten(1) * self.weight).sum(1)
        return torch.stack([f, -f], 1)


def table(x: object = X, y: object = Y, **arguments: object) -> BreakingRadii:
    return ibrobust.breaking_radii(Net(), x, y, **{"eps": RADII, **arguments})


def is_exact(found: BreakingRadii, scale: float = 1) -> bool:
    """Each sample breaks at the first radius beyond its exact one."""
    return np.allclose(found.all_attacks_N, scale * (EXACT.numpy() + 0.01))


LABELS = {
    **{str(dtype): Y.to(dtype) for dtype in (torch.int8, torch.uint8, torch.int16, torch.int32, torch.uint16)},
    "list": Y.tolist(),
    "array": Y.numpy(),
    "unsigned array": Y.numpy().astype(np.uint64),
    "another byte order": Y.numpy().astype(">i4"),
    "a list of tensors": list(Y),
    "a column": Y[:, None],
    "one-hot": torch.eye(2)[Y],
    "one-hot bytes": np.eye(2, dtype=np.uint8)[Y.numpy()],
}


@pytest.mark.parametrize("form", LABELS)
def test_labels_of_any_form_give_the_same_table(form: str) -> None:
    found = table(y=LABELS[form])
    assert is_exact(found)
    assert found.rows.equals(table().rows)


IMAGES = {
    "array": X.numpy(),
    "float64 array": X.numpy().astype(np.float64),
    "another byte order": X.numpy().astype(">f4"),
    "list of tensors": list(X),
    "list of arrays": list(X.numpy()),
    "nested lists": X.tolist(),
    "float64": X.double(),
    "read only": np.frombuffer(X.numpy().tobytes(), np.float32).reshape(X.shape),
    "backwards": X.numpy()[::-1].copy()[::-1],
}


@pytest.mark.parametrize("form", IMAGES)
def test_images_of_any_form_give_the_same_table(form: str) -> None:
    assert table(x=IMAGES[form]).rows.equals(table().rows)


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "labels with a point": ({"y": Y.float()}, "y holds float32"),
    "labels that are true or false": ({"y": Y.bool()}, "y holds bool"),
    "two ones in a row": ({"y": torch.ones(16, 2)}, "y has shape .16, 2. and is not one-hot"),
    "labels in words": ({"y": ["cat"] * 16}, "y is a list that makes no tensor"),
    "ragged labels": ({"y": [[0], [1, 2]]}, "y is a list that makes no tensor"),
    "too few labels": ({"y": Y[:3]}, r"x holds 16 samples, y has shape \(3,\)"),
    "no samples": ({"x": X[:0], "y": Y[:0]}, "x has shape .0, 1, 4, 4."),
    "whole-number pixels": ({"x": (X * 255).to(torch.int32)}, r"x holds pixels outside \[0, 1\]"),
    "complex pixels": ({"x": X.to(torch.complex64)}, "x holds complex64"),
    "ids twice": ({"ids": [3] * 16}, "ids name a sample twice"),
    "ids with a point": ({"ids": np.arange(16) / 2}, "ids holds float64"),
    "norm": ({"norm": "l7"}, "no norm 'l7'; choose from"),
    "norm 3": ({"norm": 3}, "no norm 3; choose from"),
    "protocol": ({"protocol": "weak"}, "no protocol 'weak'; choose from black-box, corruptions, paper, strict"),
    "no attack": ({"attacks": []}, "attacks is empty; choose from"),
    "attack": ({"attacks": ["pgd", "cw"]}, "no attack 'cw'; choose from"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_named(case: str) -> None:
    arguments, message = REFUSED[case]
    with pytest.raises(BadInput, match=f"^{message}") as refusal:
        table(**arguments)
    assert "\n" not in str(refusal.value)
    with pytest.raises(BadInput, match=f"^{message}"):
        ibrobust.noisy_readings(Net(), **{"x": X, "y": Y, "eps": RADII, **arguments})


ABOVE = 0.115
NUMBERS = {"float": ABOVE, "NumPy": np.float64(ABOVE), "0-d array": np.array(ABOVE), "0-d tensor": torch.tensor(ABOVE)}


@pytest.mark.parametrize("form", NUMBERS)
def test_one_radius_may_be_a_number(form: str) -> None:
    found = table(eps=NUMBERS[form])
    assert found.all_attacks_N.tolist() == pytest.approx([ABOVE] * 16)


@pytest.mark.parametrize("eps", ["eight", "", np.array([[0.1]]), -0.1, float("nan")])
def test_a_python_caller_is_told_about_eps_without_dashes(eps: object) -> None:
    with pytest.raises(BadInput, match=r"^eps .*write 0:0\.1"):
        table(eps=eps)


@pytest.mark.parametrize("norm", ["Linf", "l_inf", "L-inf", "inf", "L∞", np.inf, float("inf"), "LINF"])
def test_the_largest_change_by_any_of_its_names(norm: str | int | float) -> None:
    found = table(norm=norm)
    assert found.card.settings.norm == "linf"
    assert is_exact(found)


@pytest.mark.parametrize("norm", ["L2", "2", 2, 2.0, "l_2", "Euclidean"])
def test_the_euclidean_norm_by_any_of_its_names(norm: str | int | float) -> None:
    found = table(norm=norm, eps=[4 * radius for radius in RADII])
    assert found.card.settings.norm == "l2"
    assert is_exact(found, scale=4)


@pytest.mark.parametrize(("spelling", "name"), [("Paper", "paper"), ("PAPER", "paper")])
def test_protocols_in_other_letters(spelling: str, name: str) -> None:
    assert table(protocol=spelling).card.settings.protocol == name


def test_what_the_field_calls_autoattack_is_in_strict() -> None:
    from ibrobust.robustness.spellings import protocol_name

    assert [protocol_name(name) for name in ("AutoAttack", "autoattack", "AA", "standard")] == ["strict"] * 4
    assert [protocol_name(name) for name in ("rand", "Strict_Rand")] == ["strict-rand"] * 2


@pytest.mark.parametrize("attacks", [["pgd", "fgsm"], ("PGD", "FGSM"), "pgd,fgsm", "PGD, fgsm"])
def test_attacks_may_be_named(attacks: object) -> None:
    found = table(attacks=attacks)
    assert found.attacks == ["pgd", "fgsm"]
    assert found.card.attacks["pgd"] == ATTACKS["pgd"].settings
    assert is_exact(found)


def test_attacks_with_another_mark_between_their_words() -> None:
    assert table(attacks=["apgd_ce", "FAB"]).attacks == ["apgd-ce", "fab-t"]
