"""A categorical latent, whose sums are exact, against sums that are written out."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from ibrobust.models import categorical


class Enumerated:
    """A problem small enough to write every sum out: 6 inputs, 3 categories, 2 classes."""

    y = torch.tensor([0, 0, 1, 1, 1, 0])

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.features = torch.randn(6, 3, generator=generator, dtype=torch.float64, requires_grad=True)
        self.table = torch.rand(3, 2, generator=generator, dtype=torch.float64).softmax(1)

    def uncertainty(self) -> torch.Tensor:
        """H[Y|Z], with p(z, y) counted one sample and one category after the other."""
        p_zx = self.features.softmax(1)
        total = p_zx.new_zeros(())
        for z in range(3):
            p_z = p_zx[:, z].sum() / 6
            for y in range(2):
                p_zy = sum(p_zx[x, z] / 6 for x in range(6) if self.y[x] == y)
                total = total - p_zy * torch.log(p_zy / p_z)
        return total


@given(seed=st.integers(0, 999))
def test_decoder_uncertainty_and_its_gradient_are_those_of_the_enumerated_problem(seed: int) -> None:
    problem = Enumerated(seed)
    truth = problem.uncertainty()
    (exact,) = torch.autograd.grad(truth, problem.features)
    p_zx = problem.features.softmax(1)
    joint = categorical.joint(p_zx, problem.y, 2)
    torch.testing.assert_close(categorical.decoder_uncertainty(joint), truth)
    (through_the_sum,) = torch.autograd.grad(categorical.decoder_uncertainty(joint), problem.features)
    torch.testing.assert_close(through_the_sum, exact)
    # §E: with p(y|z) held fixed, the decoder cross-entropy has the same value and the same gradient.
    fixed = (joint / joint.sum(1, keepdim=True)).detach()
    surrogate = categorical.decoder_cross_entropy(problem.features.softmax(1), problem.y, fixed)
    torch.testing.assert_close(surrogate, truth)
    (held_fixed,) = torch.autograd.grad(surrogate, problem.features)
    torch.testing.assert_close(held_fixed, exact)


@given(seed=st.integers(0, 999))
def test_categorical_quantities_are_in_the_papers_order(seed: int) -> None:
    problem = Enumerated(seed)
    p_zx = problem.features.detach().softmax(1)
    decoder = categorical.decoder_cross_entropy(p_zx, problem.y, problem.table)
    assert categorical.decoder_uncertainty(categorical.joint(p_zx, problem.y, 2)) <= decoder + 1e-12
    prediction = categorical.prediction_cross_entropy(p_zx, problem.y, problem.table)
    assert prediction <= decoder + 1e-12
    by_hand = -torch.stack([(p_zx[x] @ problem.table[:, problem.y[x]]).log() for x in range(6)]).mean()
    torch.testing.assert_close(prediction, by_hand)


def test_a_decoder_that_follows_the_data_reaches_its_table() -> None:
    problem, decoder = Enumerated(0), categorical.DataDecoder(3, 2).double()
    p_zx = problem.features.detach().softmax(1)
    decoder.follow(p_zx, problem.y, 1.0)
    joint = categorical.joint(p_zx, problem.y, 2)
    torch.testing.assert_close(decoder.table(), joint / joint.sum(1, keepdim=True), rtol=0, atol=1e-5)
    torch.testing.assert_close(decoder(torch.eye(3, dtype=torch.float64)), decoder.table().log())
