"""Entropies against laws whose entropy is known, laws that hold exactly, and a slow readable reference."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ibrobust.entropies import entropy
from ibrobust.entropies.entropy import (
    conditional_knn_entropy,
    knn_entropies,
    knn_entropy,
    ksg_mutual_information,
    neighbour_distances,
)
from ibrobust.errors import BadInput
from tests.oracles_entropy import (
    Law,
    correlated_gaussian,
    separated_mixture,
    slow_knn_entropy,
    slow_ksg,
    standard_gaussian,
    uniform_cube,
)


def sample(law: Law, n: int, seed: int = 0) -> Tensor:
    return law.sample(n, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize("dims", range(1, 9))
def test_gaussian_within_one_percent(dims: int, norm: str) -> None:
    law = standard_gaussian(dims)
    # One standard deviation of the mean over 40,000 (15,000) samples is 0.3 % in 1 dimension, 0.2 % from 3 on.
    estimates = [knn_entropy(sample(law, 5000, seed), 3, norm) for seed in range(8 if dims < 3 else 3)]
    assert np.mean(estimates) == pytest.approx(law.entropy, rel=0.01)


@pytest.mark.parametrize(
    "law",
    [uniform_cube(1, 0.01), uniform_cube(3, 7.0), correlated_gaussian(4), separated_mixture(2, 5)],
    ids=lambda law: law.name,
)
def test_other_laws(law: Law) -> None:
    # 4 standard deviations of the mean log distance at this N, plus the cube's edge effect.
    assert knn_entropy(sample(law, 5000)) == pytest.approx(law.entropy, abs=0.08)


@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("dims", [1, 3, 20])
def test_agrees_with_the_slow_reference(dims: int, k: int, norm: str) -> None:
    z = torch.randn(60, dims, generator=torch.Generator().manual_seed(k)).float()
    assert knn_entropy(z, k, norm) == pytest.approx(slow_knn_entropy(z, k, norm), abs=1e-9)


def exact_distances(z: Tensor, k: int) -> Tensor:
    distances = (z.double()[:, None] - z.double()).norm(dim=2)
    return distances.sort(dim=1).values[:, 1 : k + 1]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3, 1e6])
def test_distances_are_exact_where_float32_products_cancel(scale: float) -> None:
    """Clusters far from each other and from the origin: a product's rounding exceeds the distances within."""
    generator = torch.Generator().manual_seed(0)
    centres = scale * torch.randn(4, 16, generator=generator, dtype=torch.float64)
    z = 1e4 + centres[torch.arange(400) % 4] + 1e-2 * torch.randn(400, 16, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(neighbour_distances(z, 5), exact_distances(z, 5), rtol=1e-9, atol=0)


def test_an_outlier_does_not_send_every_row_to_the_slow_path(monkeypatch: pytest.MonkeyPatch) -> None:
    z = torch.randn(1000, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z[0] *= 1e3
    measured = []
    original = entropy._measured_in_full
    monkeypatch.setattr(
        entropy, "_measured_in_full", lambda z, rows, k: measured.append(len(rows)) or original(z, rows, k)
    )
    torch.testing.assert_close(neighbour_distances(z, 3), exact_distances(z, 3), rtol=1e-12, atol=0)
    assert sum(measured) < 100


@pytest.mark.parametrize("block", [1, 7, 64, 5000])
def test_blocks_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    z = sample(correlated_gaussian(12), 300)
    expected = {norm: neighbour_distances(z, 4, norm) for norm in ("l2", "max")}
    threads = torch.get_num_threads()
    monkeypatch.setattr(entropy, "_BLOCK", block)
    torch.set_num_threads(1)
    try:
        for norm, distances in expected.items():
            assert torch.equal(neighbour_distances(z, 4, norm), distances)
    finally:
        torch.set_num_threads(threads)


def test_lower_matmul_precision_changes_nothing() -> None:
    z = sample(standard_gaussian(16), 600)
    expected = knn_entropy(z)
    torch.set_float32_matmul_precision("medium")
    try:
        assert knn_entropy(z) == pytest.approx(expected, abs=1e-12)
    finally:
        torch.set_float32_matmul_precision("highest")


latents = st.tuples(st.integers(0, 1000), st.integers(1, 6), st.sampled_from(["l2", "max"]), st.integers(1, 4))


@settings(max_examples=40)
@given(latents, st.floats(-1e3, 1e3))
def test_shifting_changes_nothing(case: tuple[int, int, str, int], shift: float) -> None:
    seed, dims, norm, k = case
    z = sample(standard_gaussian(dims), 50, seed)
    assert knn_entropy(z + shift, k, norm) == pytest.approx(knn_entropy(z, k, norm), abs=1e-8)


@settings(max_examples=40)
@given(latents, st.floats(1e-30, 1e30))
def test_scaling_by_a_adds_dims_log_a(case: tuple[int, int, str, int], scale: float) -> None:
    seed, dims, norm, k = case
    z = sample(standard_gaussian(dims), 50, seed)
    expected = knn_entropy(z, k, norm) + dims * math.log(scale)
    assert knn_entropy(scale * z, k, norm) == pytest.approx(expected, abs=1e-8)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 6))
def test_permuting_and_rotating_change_nothing(seed: int, dims: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    z = sample(standard_gaussian(dims), 50, seed)
    rotation, _ = torch.linalg.qr(torch.randn(dims, dims, generator=generator, dtype=torch.float64))
    turned = z[torch.randperm(50, generator=generator)] @ rotation
    assert knn_entropy(turned) == pytest.approx(knn_entropy(z), abs=1e-9)


def test_several_k_in_one_pass_equal_one_at_a_time() -> None:
    z = sample(standard_gaussian(5), 200)
    assert knn_entropies(z, [7, 1, 3]) == pytest.approx({k: knn_entropy(z, k) for k in (7, 1, 3)}, abs=1e-12)


def test_conditional_entropy_weighs_the_classes() -> None:
    z = sample(standard_gaussian(3), 300)
    y = torch.cat([torch.zeros(100), torch.ones(200)]).long()
    z[100:] *= 10
    expected = knn_entropy(z[:100]) / 3 + knn_entropy(z[100:]) * 2 / 3
    assert conditional_knn_entropy(z, y) == pytest.approx(expected, abs=1e-12)


def test_conditional_entropy_of_separated_classes_is_less_by_ln_classes() -> None:
    """H[Z] = H[Y] + H[Z|Y] where Z tells Y."""
    law = separated_mixture(3, 4)
    z, y = sample(law, 2000), torch.arange(2000) % 4
    assert knn_entropy(z) - conditional_knn_entropy(z, y) == pytest.approx(math.log(4), abs=1e-3)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_ksg_of_a_correlated_gaussian(correlation: float) -> None:
    generator = torch.Generator().manual_seed(1)
    x, noise = torch.randn(2, 4000, 1, generator=generator, dtype=torch.float64)
    y = correlation * x + math.sqrt(1 - correlation**2) * noise
    assert ksg_mutual_information(x, y) == pytest.approx(-0.5 * math.log(1 - correlation**2), abs=0.03)


@pytest.mark.parametrize("k", [1, 4])
def test_ksg_agrees_with_the_slow_reference(k: int) -> None:
    x, y = torch.randn(2, 50, 2, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
    y = y + x
    assert ksg_mutual_information(x, y, k) == pytest.approx(slow_ksg(x, y, k), abs=1e-9)


def test_ksg_is_symmetric_and_blind_to_the_order_of_the_samples() -> None:
    x, noise = torch.randn(2, 500, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y, order = x + noise, torch.randperm(500, generator=torch.Generator().manual_seed(1))
    assert ksg_mutual_information(y[order], x[order]) == pytest.approx(ksg_mutual_information(x, y), abs=1e-12)


@pytest.mark.parametrize("constant", [0.0, 1.0, -0.3, 1e6])
@pytest.mark.parametrize("count", [200, 3000])
def test_a_constant_says_exactly_nothing(constant: float, count: int) -> None:
    y = torch.randn(count, 1, generator=torch.Generator().manual_seed(0))
    alone = torch.full((count, 2), constant)
    assert ksg_mutual_information(alone, y) == ksg_mutual_information(y, alone) == 0


def test_a_constant_dimension_beside_others_changes_nothing() -> None:
    x, y = torch.randn(2, 300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    more = torch.cat([x, torch.full((300, 1), 0.3, dtype=torch.float64)], 1)
    assert ksg_mutual_information(more, x + y) == ksg_mutual_information(x, x + y)


@pytest.mark.parametrize(("dims", "correlation"), [(16, 0.5), (32, 0.5), (4, 0.999)])
def test_ksg_says_where_it_sees_too_little(dims: int, correlation: float) -> None:
    """Correlated pairs, whose information is −dims/2 ln(1 − correlation²): a third of it is found in 16 + 16."""
    x, noise = torch.randn(2, 2000, dims, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = correlation * x + math.sqrt(1 - correlation**2) * noise
    truth = -dims / 2 * math.log(1 - correlation**2)
    with pytest.warns(UserWarning, match="on Gaussians of the same covariance, whose information is") as caught:
        found = ksg_mutual_information(x, y)
    assert found < 0.75 * truth
    stated = float(str(caught[0].message).split("whose information is ")[1].split(",")[0])
    assert stated == pytest.approx(truth, rel=0.15)


def test_ksg_of_copies_says_that_the_information_may_be_infinite() -> None:
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match="may be infinite"):
        ksg_mutual_information(x, x.clone())


@pytest.mark.parametrize("norm", ["l2", "max"])
def test_copies_raise_with_their_count(norm: str) -> None:
    z = sample(standard_gaussian(4), 100)
    z[7] = z[3]
    z[50] = z[51] = z[52]
    with pytest.raises(BadInput, match=r"5 of 100 samples coincide.*zero-entropy noise"):
        knn_entropy(z, 3, norm)


@pytest.mark.parametrize(
    ("z", "k", "norm", "message"),
    [
        (torch.eye(3), 3, "l2", "k = 3 with 3 samples"),
        (torch.eye(3), 0, "l2", "k = 0"),
        (torch.tensor([[1.0], [math.nan], [math.inf]]), 1, "l2", "2 of 3 samples are not finite"),
        (torch.eye(3), 1, "l3", "no distance 'l3'; choose from l2, max"),
    ],
)
def test_bad_input_is_named(z: Tensor, k: int, norm: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        knn_entropy(z, k, norm)


def test_a_class_too_small_is_named() -> None:
    with pytest.raises(BadInput, match="class 1 holds 2 samples"):
        conditional_knn_entropy(torch.randn(10, 2), torch.tensor([0] * 8 + [1] * 2))


def test_ksg_needs_pairs() -> None:
    with pytest.raises(BadInput, match="x holds 5 samples and y 6"):
        ksg_mutual_information(torch.randn(5, 1), torch.randn(6, 1))
