"""The paper's quantities of a categorical toy problem against enumeration and the paper's identities."""

import pytest
import torch
from torch import Tensor

from ibrobust.entropies.categorical import exact_quantities
from tests.oracles_entropy import REST, enumerated_quantities, identities


def toy(seed: int) -> tuple[Tensor, Tensor]:
    """p(x, y) of 5 inputs and 3 classes whose labels are uncertain, and p(z|x) of 4 categories, with some zeros."""
    generator = torch.Generator().manual_seed(seed)
    joint, encoder = torch.rand(2, 5, 4, generator=generator, dtype=torch.float64).pow(3)
    joint = joint[:, :3].clone()
    joint[0, 1] = encoder[2, 0] = 0
    return joint / joint.sum(), encoder / encoder.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("seed", range(5))
def test_categorical_quantities_agree_with_enumeration(seed: int) -> None:
    joint, encoder = toy(seed)
    enumerated = enumerated_quantities(joint, encoder)
    for name, value in exact_quantities(joint, encoder).items():
        assert value == pytest.approx(enumerated[name], abs=1e-9), name


@pytest.mark.parametrize("seed", range(5))
def test_equations_17_to_29_hold(seed: int) -> None:
    q = exact_quantities(*toy(seed)) | {
        name: value for name, value in enumerated_quantities(*toy(seed)).items() if name in ("nuisance", REST)
    }
    for number, (left, right) in identities(q).items():
        assert left == pytest.approx(right, abs=1e-9), f"equation {number}"
