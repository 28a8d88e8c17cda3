"""The table of breaking radii: exact where it can be, the same bytes however it is computed, loud when it fails."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ibrobust.attacks import ATTACKS, Attack, Attempt
from ibrobust.errors import BadInput, RunFailed
from ibrobust.models.bottleneck import Bottleneck
from ibrobust.models.noise import LatentNoise
from ibrobust.robustness.breaking_radii import breaking_radii
from ibrobust.robustness.card import QueryCount
from ibrobust.robustness.noisy_readings import noisy_readings
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.storage import joined
from tests.oracles import linear, trained_digits

SAMPLES = 120


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, Tensor, Tensor]:
    model, x, y = trained_digits()
    return model, x[:SAMPLES], y[:SAMPLES]


@pytest.fixture(scope="module")
def paper(digits: tuple[nn.Module, Tensor, Tensor]) -> BreakingRadii:
    return breaking_radii(*digits, eps="0:0.2")


def test_bisection_agrees_with_exhaustive_search_up_to_samples_that_are_not_monotone(digits, paper) -> None:
    upward = breaking_radii(*digits, eps="0:0.2", search="exhaustive")
    for attack in paper.attacks:
        differ = paper.rows[attack] != upward.rows[attack]
        print(f"{attack}: {differ.sum()} of {SAMPLES} samples are not monotone")
        # Searching upward finds the first radius that breaks; bisection may find a later one, never an earlier.
        assert (paper.rows[attack] >= upward.rows[attack]).all()
        assert differ.sum() <= 0.02 * SAMPLES
    counts = np.stack([[(t.all_attacks_N > eps).sum() for eps in t.radii_E] for t in (paper, upward)])
    assert (np.abs(counts[0] - counts[1]) <= 0.005 * SAMPLES).all()


@pytest.mark.parametrize("batch_size", [7, 64, SAMPLES])
def test_the_batch_size_changes_no_byte(digits, paper, batch_size: int) -> None:
    assert paper.rows.equals(breaking_radii(*digits, eps="0:0.2", batch_size=batch_size).rows)


def test_a_second_run_changes_no_byte(digits, paper) -> None:
    again = breaking_radii(*digits, eps="0:0.2")
    assert paper.rows.equals(again.rows)
    assert paper.card == again.card


def test_shards_joined_are_the_whole(digits, paper) -> None:
    model, x, y = digits
    order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(0))
    shards = [breaking_radii(model, x[rows], y[rows], eps="0:0.2", ids=rows) for rows in (order[:50], order[50:])]
    whole = joined(shards)
    assert whole.rows.equals(paper.rows)
    assert whole.card == paper.card


def test_columns_of_standing_samples_give_the_same_curve_for_less_work(digits, paper) -> None:
    standing = breaking_radii(*digits, eps="0:0.2", columns="standing")
    columns = standing.breaking_eps_AN
    assert (np.diff(columns, axis=0) <= 0).all()
    assert (standing.all_attacks_N == columns[-1]).all()
    assert (standing.all_attacks_N != paper.all_attacks_N).sum() <= 0.01 * SAMPLES
    assert standing.card.queries["pgd"].gradient < paper.card.queries["pgd"].gradient
    first = standing.attacks[0]
    assert standing.rows[first].equals(paper.rows[first])


def test_a_minimal_attack_is_asked_about_standing_samples_alone(digits) -> None:
    attacks = {name: ATTACKS[name] for name in ("bim", "deepfool")}
    own, standing = (
        breaking_radii(*digits, eps=[0.1], attacks=attacks, columns=columns) for columns in ("own", "standing")
    )
    broken = own.rows.bim <= 0.1
    assert 0 < broken.sum() < SAMPLES
    assert standing.rows[~broken].equals(own.rows[~broken])
    asked = (results.card.queries["deepfool"].forward for results in (own, standing))
    assert next(asked) - next(asked) == (broken & (own.rows.bim > 0)).sum()


class Hungry(nn.Module):
    """Runs out of memory with more than so many images at a time."""

    def __init__(self, model: nn.Module, most: int) -> None:
        super().__init__()
        self.model, self.most, self.refused = model, most, 0
        self.asked: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(len(x))
        if len(x) > self.most:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is.")
        return self.model(x)


@pytest.mark.parametrize("noise", ["mean", "fresh"])
def test_out_of_memory_halves_the_batch_and_changes_no_byte(digits, few_draws, noise: str) -> None:
    _, x, y = digits
    x, y = x[:100], y[:100]
    torch.manual_seed(0)
    pixel = torch.zeros(1)
    encoder = Hungry(nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), 10_000)
    model = Bottleneck(encoder, nn.Linear(8, 10), noise=LatentNoise(0.1), pixel_mean=pixel, pixel_std=pixel + 1)
    evaluate = breaking_radii if noise == "mean" else noisy_readings
    settings = {"eps": [0.05], "attacks": ["fgsm", "deepfool", "bim"], "batch_size": 100, "health": "ignore"}
    plenty = evaluate(model, x, y, **settings)
    encoder.most = 40
    scarce = evaluate(model, x, y, **settings)
    assert encoder.refused > 0
    assert scarce.rows.equals(plenty.rows)
    assert scarce.card == plenty.card


def test_a_batch_more_is_shared_evenly(digits) -> None:
    model, x, y = digits
    hungry = Hungry(model, 10_000)
    breaking_radii(hungry, x, y, eps=[0.05], attacks={"fgsm": ATTACKS["fgsm"]}, batch_size=112)
    assert max(hungry.asked) == 64, "120 samples: 64 and 56, not 112 and 8"


def test_out_of_memory_with_the_smallest_batch_ends_the_run() -> None:
    problem = linear("linf")
    with pytest.raises(RunFailed, match="out of memory with 16 samples in a batch"):
        breaking_radii(Hungry(problem.model, 1), problem.x, problem.y)


def test_radius_zero_is_clean_accuracy(digits, paper) -> None:
    model, x, y = digits
    with torch.no_grad():
        correct = (model(x).argmax(1) == y).numpy()
    assert ((paper.all_attacks_N > 0) == correct).all()
    curves = paper.curves()
    assert (curves[curves["eps"] == 0]["robust"] == correct.mean()).all()
    assert (paper.rows["prediction"].to_numpy() == y.numpy())[correct].all()


def test_pixels_as_bytes_are_pixels_in_256ths(digits) -> None:
    model, x, y = digits
    bytes_ = (x[:20] * 255).round().to(torch.uint8)
    as_bytes = breaking_radii(model, bytes_, y[:20], eps="0:0.2")
    assert as_bytes.rows.equals(breaking_radii(model, bytes_.float() / 255, y[:20], eps="0:0.2").rows)


def test_the_model_is_left_as_it_was(digits) -> None:
    model, x, y = digits
    network = nn.Sequential(model, nn.Dropout(0.5))
    network.train()
    breaking_radii(network, x[:20], y[:20])
    assert network.training
    assert network[1].training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


@settings(max_examples=8)
@given(seed=st.integers(0, 1000), chosen=st.sets(st.integers(0, SAMPLES - 1), min_size=1, max_size=30))
def test_any_part_of_the_data_gets_its_part_of_the_table(digits, seed: int, chosen: set[int]) -> None:
    model, x, y = digits
    rows = torch.tensor(sorted(chosen))
    eps = [0.1]
    part = breaking_radii(model, x[rows], y[rows], eps=eps, ids=rows, seed=seed).rows
    whole = breaking_radii(model, x[:40], y[:40], eps=eps, seed=seed).rows
    shared = part[part["sample"] < 40].reset_index(drop=True)
    assert shared.equals(whole[whole["sample"].isin(chosen)].reset_index(drop=True))


def test_the_all_attack_curve_is_below_every_attack_and_falls(paper) -> None:
    table = paper.curves().pivot(index="eps", columns="attack", values="robust")
    assert (table["all"].to_numpy()[:, None] <= table.to_numpy()).all()
    assert (np.diff(table.to_numpy(), axis=0) <= 0).all()


def test_queries_are_counted_for_each_attack() -> None:
    problem = linear("linf")
    card = breaking_radii(problem.model, problem.x, problem.y, eps=[0.05]).card
    survivors = len(problem.x)
    # The first step of FGSM and of BIM is the clean gradient, asked once for both.
    assert card.queries["clean"].gradient == survivors
    assert card.queries["fgsm"] == QueryCount(forward=survivors, gradient=0)
    assert card.queries["bim"] == QueryCount(forward=survivors, gradient=9 * survivors)
    assert card.queries["pgd"] == QueryCount(forward=survivors, gradient=40 * survivors)


def attack_that(harm: Callable[[Tensor, Tensor], Tensor]) -> Attack:
    def function(attempt: Attempt) -> Tensor:
        return harm(attempt.x, attempt.eps)

    return Attack(function)


def raised(x: Tensor, eps: Tensor) -> Tensor:
    raise ArithmeticError("no more luck")


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (raised, "raised"),
        (lambda x, eps: torch.where(x == x.amax(), torch.nan, x), "not finite"),
        (lambda x, eps: x - 1, r"left \[0, 1\]"),
        (lambda x, eps: (x + 0.6).clamp(0, 1), "left the ball"),
        (lambda x, eps: x[:, :, 1:], "shape"),
        (lambda x, eps: x.to(torch.float64), "dtype"),
    ],
)
def test_an_attack_that_breaks_its_contract_ends_the_run_with_its_name_and_the_samples(harm, complaint: str) -> None:
    problem = linear("linf")
    attacks = {"fgsm": ATTACKS["fgsm"], "broken": attack_that(harm)}
    ids = torch.arange(100, 100 + len(problem.x))
    with pytest.raises(RunFailed, match=rf"attack 'broken' .*{complaint}") as failure:
        breaking_radii(problem.model, problem.x, problem.y, eps=[0.01], attacks=attacks, ids=ids)
    assert "samples [1" in str(failure.value)
    assert "\n" not in str(failure.value)


class Answering(nn.Module):
    """Whatever a function says of the images."""

    def __init__(self, answer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(x.flatten(1))


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (lambda x: x[:, :5] * torch.nan, "not finite"),
        (lambda x: x[:, :5] / 0, "not finite"),
        (lambda x: x[:, 0], r"answers .* with shape \(16,\)"),
        (lambda x: x[:, :5, None], "shape"),
        (lambda x: x[:3, :5], "shape"),
        (lambda x: x[:, :1], "classes"),
        (lambda x: (x[:, :5] * 0).argmax(1), "shape"),
        (lambda x: x.sum(), "shape"),
        (lambda x: ("logits", x[:, :5]), "tuple"),
        (lambda x: x @ torch.ones(3, 3), "raised"),
    ],
)
def test_a_model_whose_answer_is_not_logits_is_refused_in_one_line(answer, complaint: str) -> None:
    problem = linear("linf")
    with pytest.raises(BadInput, match=complaint) as refusal:
        breaking_radii(Answering(answer), problem.x, problem.y)
    assert "\n" not in str(refusal.value)


def test_logits_that_become_nan_under_attack_are_not_counted_as_robust_or_broken() -> None:
    problem = linear("linf")

    def answer(x: Tensor) -> Tensor:
        logits = problem.model(x.view(-1, 1, 4, 4))
        moved = (x[:, None] - problem.x.flatten(1)[None]).abs().amax(2).amin(1) > 0.04
        return torch.where(moved[:, None], torch.nan, logits)

    with pytest.raises(BadInput, match="not finite"):
        breaking_radii(Answering(answer), problem.x, problem.y, eps=[0.05])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"x": torch.zeros(0, 1, 4, 4)}, "one sample or more"),
        ({"x": torch.zeros(20, 16)}, "channels"),
        ({"y": torch.zeros(3, dtype=torch.int64)}, "20 samples"),
        ({"x": torch.full((20, 1, 4, 4), 1.5)}, r"outside \[0, 1\]"),
        ({"x": torch.full((20, 1, 4, 4), torch.nan)}, "NaN"),
        ({"y": torch.full((20,), 5)}, "label"),
        ({"y": torch.full((20,), -1)}, "label"),
        ({"ids": torch.zeros(20, dtype=torch.int64)}, "twice"),
        ({"protocol": "papers"}, "no protocol 'papers'; choose from"),
        ({"norm": "l7"}, "no norm 'l7'; choose from l1, l2, linf"),
        ({"columns": "doric"}, "no columns 'doric'; choose from own, standing"),
        ({"search": "guess"}, "no search 'guess'; choose from bisect, exhaustive"),
        ({"eps": "0.1:0"}, "ascend"),
        ({"batch_size": 0}, "batch_size"),
        ({"device": "toaster"}, "device"),
    ],
)
def test_bad_input_is_refused_in_one_line(change: dict, complaint: str) -> None:
    problem = linear("linf")
    arguments = {"x": problem.x, "y": problem.y} | change
    with pytest.raises(BadInput, match=complaint) as refusal:
        breaking_radii(problem.model, **arguments)
    assert "\n" not in str(refusal.value)
