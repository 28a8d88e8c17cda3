"""Models that hide their gradients are found out, each for the right reason; honest ones are not accused."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from ibrobust import breaking_radii, noisy_readings
from ibrobust.attacks import ATTACKS
from ibrobust.checks import CHECKS, Case
from ibrobust.checks.planted import planted
from ibrobust.checks.stand_ins import STAND_INS
from ibrobust.errors import BadInput
from ibrobust.experiments.auditing import audit
from ibrobust.models.bottleneck import Bottleneck
from ibrobust.models.noise import LatentNoise
from ibrobust.robustness.results import BreakingRadii
from tests.cards import asked_otherwise, card

N = 40


@pytest.fixture(autouse=True)
def _short_attacks(monkeypatch, few_draws):
    """Strict attacks at a fraction of their steps, so that two dozen audits take seconds: the verdicts are the same."""
    for name, settings in {
        "apgd-ce": {"steps": 10}, "apgd-t": {"steps": 10, "targets": 2}, "fab-t": {"steps": 3, "targets": 2},
        "square": {"queries": 100},
    }.items():  # fmt: skip
        short = replace(ATTACKS[name], settings={**ATTACKS[name].settings, **settings})
        monkeypatch.delitem(ATTACKS, name)
        monkeypatch.setitem(ATTACKS, name, short)
    for name, steps in {"straight-through": 15, "neighbourhood": 4, "answers": 12}.items():
        monkeypatch.setitem(STAND_INS, name, replace(STAND_INS[name], settings={"steps": steps}))


def digits() -> tuple[Tensor, Tensor]:
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    return torch.tensor(data.images, dtype=torch.float32)[order, None] / 16, torch.tensor(data.target)[order]


X, Y = digits()
X_TEST, Y_TEST = X[-N:], Y[-N:]


def trained(
    model: nn.Module, *, epochs: int = 10, adversarial: float = 0, learns: nn.Module | None = None
) -> nn.Module:
    optimizer = torch.optim.Adam((learns or model).parameters(), 6e-3)
    for _ in range(epochs):
        for rows in torch.randperm(1400).split(128):
            x, y = X[rows], Y[rows]
            for _ in range(4 if adversarial else 0):
                at = x.clone().requires_grad_()
                (gradient,) = torch.autograd.grad(F.cross_entropy(model(at), y), at)
                x = (
                    (x + adversarial / 2 * gradient.sign())
                    .clamp(X[rows] - adversarial, X[rows] + adversarial)
                    .clamp(0, 1)
                )
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model.eval()


def mlp(seed: int = 0, *, squash: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), squash or nn.ReLU(), nn.Linear(32, 10)
    )


def audited(model: nn.Module, *, n: int = N, noise: str = "mean", twin: nn.Module | None = None):
    x, y = X_TEST[:n], Y_TEST[:n]
    noisy = partial(noisy_readings, protocol="paper", noise=noise, eps="0:0.1:3")
    claim = (breaking_radii if noise == "mean" else noisy)(model, x, y, health="ignore")
    return audit(model, x, y, claim, twin=twin, health="ignore")


class Changed(nn.Module):
    def __init__(self, model: nn.Module, forward) -> None:
        super().__init__()
        self.model, self.change = model, forward

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.model, x)


class Sharp(nn.Module):
    """tanh, so steep that nothing but its sign is left."""

    def __init__(self) -> None:
        super().__init__()
        self.steepness = 1.0

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.steepness * z)


@pytest.fixture(scope="module")
def ordinary() -> nn.Module:
    return trained(mlp())


def saturated(_ordinary: nn.Module) -> nn.Module:
    squash = Sharp()
    model = trained(mlp(squash=squash))
    squash.steepness = 1000.0
    return trained(model, epochs=3, learns=model[-1])


def decoy(ordinary: nn.Module) -> nn.Module:
    other = mlp(seed=9)
    return Changed(ordinary, lambda model, x: model(x).detach() + other(x) - other(x).detach())


HIDING = {
    "logits × 1000": (lambda m: Changed(m, lambda m, x: 1000 * m(x)), {"zero-gradient"}, "supported"),
    "quantised input": (lambda m: Changed(m, lambda m, x: m((8 * x).round() / 8)), {"zero-gradient"}, "undercut"),
    "saturated activation": (saturated, {"zero-gradient", "rising-loss"}, "undercut"),
    "gradient stopped": (
        lambda m: Changed(m, lambda m, x: m(x.detach()) + 0 * x.sum()),
        {"zero-gradient"},
        "undercut",
    ),
    "gradient of another model": (decoy, {"slope"}, "undercut"),
    # Wrong wherever a gradient is asked for, the clean images included: nothing is claimed.
    "another answer under attack": (
        lambda m: Changed(m, lambda m, x: m(x.detach()).flip(1) + 0 * x.sum() if x.requires_grad else m(x)),
        {"same-answer"},
        "supported",
    ),
}


@pytest.mark.parametrize("case", HIDING)
def test_hidden_gradients_are_noted_and_a_claim_is_doubted_where_something_breaks_more(case, ordinary):
    make, notes, stands = HIDING[case]
    found = audited(make(ordinary))
    assert notes <= {finding.name for finding in found.findings if finding.kind == "note" and not finding.passed}
    assert found.evidence.stands == stands, found
    assert found.verdict == ("trusted" if stands == "supported" else "masked")


def test_large_noise_is_not_trusted(ordinary):
    noisy = audited(Changed(ordinary, lambda model, x: model(x + 0.3 * torch.randn_like(x))))
    assert noisy.verdict != "trusted"
    assert "repeatable" in {finding.name for finding in noisy.findings if not finding.passed}


def bottleneck(noise_std: float) -> Bottleneck:
    torch.manual_seed(1)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32))
    about = {"pixel_mean": torch.zeros(1), "pixel_std": torch.ones(1)}
    return Bottleneck(encoder, nn.Linear(32, 10), noise=LatentNoise(noise_std), **about)


def test_large_latent_noise_is_not_trusted_and_little_is():
    model = trained(bottleneck(0.0))
    model.noise = LatentNoise(20.0)
    loud = audited(model, n=30, noise="fresh")
    assert loud.verdict != "trusted"
    assert "repeatable" in {finding.name for finding in loud.findings if not finding.passed}
    model.noise = LatentNoise(2.0)
    lucky = audited(model, n=30, noise="fresh")
    flips = next(finding.value for finding in lucky.findings if finding.name == "repeatable")
    assert flips > 0.05, "enough for some samples to be called robust by luck"
    assert lucky.verdict == "trusted", lucky
    model.noise = LatentNoise(0.01)
    quiet = audited(model, n=30, noise="fresh")
    assert {"noise-off", "fixed-noise"} <= {finding.name for finding in quiet.findings}
    assert quiet.verdict == "trusted", quiet


def test_a_foreign_model_with_noise_of_its_own_is_not_asked_to_hold_it_still(ordinary):
    shaky = Changed(ordinary, lambda model, x: model(x + 0.1 * torch.randn_like(x)))
    found = audited(shaky, n=30, noise="fresh")
    assert not {"planted", "noise-off", "fixed-noise"} & {finding.name for finding in found.findings}
    assert found.verdict == "trusted", [finding for finding in found.findings if not finding.passed]


def test_a_linear_model_is_trusted():
    torch.manual_seed(0)
    found = audited(trained(nn.Sequential(nn.Flatten(), nn.Linear(64, 10))))
    assert found.verdict == "trusted", [finding for finding in found.findings if not finding.passed]


def test_an_adversarially_trained_model_is_trusted():
    found = audited(trained(mlp(), epochs=15, adversarial=0.1))
    assert found.claim.robust_avg > 0.75
    assert found.verdict == "trusted", [finding for finding in found.findings if not finding.passed]


@pytest.mark.parametrize("seed", range(3))
def test_ordinary_networks_raise_no_alarm(seed):
    found = audited(trained(mlp(seed), epochs=5), n=20, twin=trained(mlp(seed + 50), epochs=3) if seed == 0 else None)
    assert found.verdict == "trusted", [finding for finding in found.findings if not finding.passed]
    assert ("twin" in {finding.name for finding in found.findings}) == (seed == 0)


def table(model: nn.Module, **columns: float) -> Case:
    """The model's case with some of the claim's columns set to one radius."""
    results = breaking_radii(model, X_TEST, Y_TEST, eps="0:0.1")
    rows = results.rows.assign(**{name: np.float32(radius) for name, radius in columns.items()})
    return Case(model, X_TEST, Y_TEST, BreakingRadii(rows, results.card))


def test_fgsm_far_above_strong_attacks_is_suspect_under_the_paper_protocol_alone(ordinary):
    case = table(ordinary, fgsm=np.inf)
    finding = CHECKS["fgsm-gap"](case)
    assert (finding.passed, finding.means) == (False, "suspect")
    assert finding.value == pytest.approx(1 - np.mean(case.claim.all_attacks_N > np.float32(0.1)), abs=0.05)
    strict = replace(case, claim=asked_otherwise(case.claim, protocol="strict"))
    assert CHECKS["fgsm-gap"](strict) is None


def test_fgsm_below_pgd_is_masked(ordinary):
    case = table(ordinary, fgsm=0.01, bim=0.09, pgd=0.1)
    finding = CHECKS["fgsm-beats-pgd"](case)
    assert (finding.passed, finding.means, finding.value) == (False, "masked", 1.0)


@pytest.mark.parametrize("cross_entropy", [True, False])
def test_an_attack_of_your_own_on_the_cross_entropy_is_questioned_like_ours(ordinary, monkeypatch, cross_entropy):
    monkeypatch.setitem(ATTACKS, "mine", replace(ATTACKS["fgsm"], cross_entropy=cross_entropy))
    assert table(ordinary).claimed.by_cross_entropy == ("fgsm", "bim", "pgd")
    results = breaking_radii(ordinary, X_TEST, Y_TEST, eps="0:0.1", attacks=["mine", "deepfool"])
    case = Case(ordinary, X_TEST, Y_TEST, results)
    assert case.claimed.by_cross_entropy == (("mine",) if cross_entropy else ())
    found = CHECKS["margin-loss"](case)
    assert (found is not None) == cross_entropy


def test_square_of_a_strict_claim_is_read_from_its_table(ordinary):
    case = table(ordinary, fgsm=np.inf, bim=np.inf, pgd=np.inf, deepfool=np.inf, square=0.05)
    rows = case.claim.rows.assign(**{name: np.float32(np.inf) for name in ("apgd-ce", "apgd-t", "fab-t")})
    case = replace(case, claim=BreakingRadii(rows, case.claim.card))
    # Unchanged, the images that the model gets wrong anyway would be "broken" too: they do not count.
    assert CHECKS["square"](case).value == pytest.approx(float((ordinary(X_TEST).argmax(1) == Y_TEST).float().mean()))
    assert CHECKS["strict"](case) is None


def test_the_radius_asked_about_is_where_half_of_what_was_right_is_claimed():
    case = Case(nn.Identity(), X_TEST, Y_TEST, claim([0, 0.02, 0.04, 0.06, np.inf] * 8))
    assert case.radius == 0.05  # robust 0.4 = half of 0.8 at 0.04 and 0.05; the larger one
    assert case.claimed.survivors(0.04).tolist() == [index for index in range(N) if index % 5 > 2]
    assert len(case.claimed.correct) == 32


def claim(breaking: list[float]) -> BreakingRadii:
    rows = {"sample": range(N), "label": Y_TEST.numpy(), "prediction": 0, "zero_gradient": False}
    return BreakingRadii(pd.DataFrame(rows).assign(pgd=np.float32(breaking)), card(eps="0:0.1"))


def test_planted_examples_are_there_and_seldom_found_by_chance(ordinary, monkeypatch):
    case = table(ordinary)
    assert planted(case).value == 0
    # A model without a gradient leaves PGD where it started: at a random point of the ball.
    stopped = replace(case, model=Changed(ordinary, lambda model, x: model(x.detach()) + 0 * x.sum()))
    found = planted(stopped)
    assert "PGD misses 100.0%" in found.sentence or "PGD misses 9" in found.sentence, found.sentence
    assert found.passed, "what PGD misses the audit's other attacks find, so that a claim can be tested"
    for name in [*STAND_INS]:
        monkeypatch.delitem(STAND_INS, name)
    blind = planted(stopped)
    assert (blind.kind, blind.passed) == ("control", False)
    assert blind.value > 0.9


def test_a_constant_model_claims_nothing_and_is_asked_little():
    found = audited(
        Changed(nn.Linear(1, 1), lambda _, x: F.one_hot(torch.full((len(x),), 3), 10) + 0 * x.flatten(1)[:, :10])
    )
    assert {finding.name for finding in found.findings} >= {"zero-gradient", "radius-one"}
    assert found.verdict == "masked"


def test_samples_of_another_claim_are_refused(ordinary):
    results = claim([0.1] * N)
    with pytest.raises(BadInput, match="not the 40 of the claim"):
        audit(ordinary, X_TEST[:5], Y_TEST[:5], results)
    with pytest.raises(BadInput, match="not the 40 of the claim"):
        audit(ordinary, X_TEST, Y_TEST.flip(0), results)
