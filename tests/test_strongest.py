"""What gradients do not find: soft ascents, the search for survivors, and the protocol that ends with it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ibrobust.attacks import ATTACKS, NORMS, Attempt, protocol_attacks, victim
from ibrobust.attacks.soft_ascent import wrong_lead
from ibrobust.attacks.survivors import search
from ibrobust.attacks.survivors.corners import first_layer
from ibrobust.attacks.survivors.polish import vertex
from ibrobust.cpu.fusion import fused
from ibrobust.errors import BadInput
from ibrobust.images import frozen
from ibrobust.models.bottleneck import view
from ibrobust.models.relus import Gate, relu_inputs, softened
from ibrobust.randomness import Draw, sample_draw
from ibrobust.robustness.breaking_radii import breaking_radii
from ibrobust.robustness.noisy_readings import noisy_readings
from ibrobust.robustness.protocols import PROTOCOLS, strong_enough
from tests.exact_radii import exact_radius, tiny_digits
from tests.oracles import linear, trained_digits
from tests.planted_networks import CONSTRUCTIONS, EPS

QUIET = Draw(torch.zeros(1, dtype=torch.int64))

WAYS = {
    "F.relu": F.relu,
    "torch.relu": torch.relu,
    "Tensor.relu": lambda z: z.relu(),
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU in place": nn.ReLU(inplace=True),
    "relu_": lambda z: z.relu_(),
    "F.relu_": F.relu_,
    "clamp(min=0)": lambda z: z.clamp(min=0),
    "torch.clamp(z, 0)": lambda z: torch.clamp(z, 0),
    "clamp_min": lambda z: z.clamp_min(0.0),
    "clamp_": lambda z: z.clamp_(min=0),
}


class Halfway(nn.Module):
    """Logits (0, Σ relu(pixel − ½)) of two pixels."""

    def __init__(self, relu) -> None:
        super().__init__()
        self.relu = relu

    def forward(self, x):
        on = self.relu(x.flatten(1) - 0.5).sum(1)
        return torch.stack([torch.zeros_like(on), on], dim=1)


@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_softened_relu_answers_exactly_and_lets_through_a_linear_share(way):
    seen = view(Halfway(WAYS[way]))
    x = torch.tensor([[0.4, 0.8]]).view(1, 1, 1, 2).requires_grad_()
    answer = softened(seen, Gate(1.0))(x, QUIET)
    assert torch.equal(answer, seen(x, QUIET))
    # The inputs −0.1 and 0.3 have a mean size of 0.2: (−0.1 + 0.2) / 0.4 and more than 1.
    passing = torch.autograd.grad(answer[0, 1], x)[0].flatten()
    torch.testing.assert_close(passing, torch.tensor([0.25, 1.0]))
    sharp = torch.autograd.grad(softened(seen, Gate(0.0, slope=0.001))(x, QUIET)[0, 1], x)[0].flatten()
    torch.testing.assert_close(sharp, torch.tensor([0.001, 1.0]))
    recorded = relu_inputs(seen, x, QUIET)[1]
    torch.testing.assert_close(recorded, [torch.tensor([[-0.1, 0.3]])])


def test_other_clamps_are_no_relus():
    for other in (F.gelu, lambda z: z.clamp(0, 1), lambda z: z.clamp(min=0.1), lambda z: z.clamp(max=0)):
        assert relu_inputs(view(Halfway(other)), torch.rand(1, 1, 1, 2), QUIET)[1] == []


@pytest.mark.parametrize("channels", [1, 3])
def test_fused_layers_have_the_gate_of_the_layers_that_they_stand_for(channels):
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, 4, 3, padding=1)
    model = nn.Sequential(nn.Sequential(conv, nn.MaxPool2d(2), nn.ReLU()), nn.Flatten(), nn.Linear(64, 3))
    x = torch.rand(5, channels, 8, 8)

    def slopes():
        image = x.clone().requires_grad_()
        gated = softened(view(model), Gate(0.5, slope=0.001))(image, QUIET)[:, 0].sum()
        return torch.autograd.grad(gated, image)[0]

    with frozen(model):
        plain, inputs = slopes(), relu_inputs(view(model), x, QUIET)[1]
        with fused(model, x[:1]):
            assert not isinstance(model[0][0], nn.Conv2d)
            torch.testing.assert_close(slopes(), plain)
            assert len(relu_inputs(view(model), x, QUIET)[1]) == len(inputs) == 1


@pytest.mark.parametrize("name", sorted(CONSTRUCTIONS))
def test_planted_counterexamples_that_no_gradient_leads_to_are_found(name):
    planted = CONSTRUCTIONS[name](8, 0)
    found = breaking_radii(
        planted.model, planted.x, planted.y, eps=[EPS], attacks="pgd,apgd-t,survivors", health="ignore"
    )
    assert (found.rows[["pgd", "apgd-t"]] > EPS).all(axis=None)
    assert (found.rows["survivors"] <= torch.tensor(EPS).item()).all()


def test_where_a_unit_is_not_far_from_zero_one_soft_ascent_finds_it():
    planted = CONSTRUCTIONS["decoy"](8, 0)
    found = breaking_radii(planted.model, planted.x, planted.y, eps=[EPS], attacks="soft-t", health="ignore")
    assert (found.rows["soft-t"] < 1).all()


@pytest.fixture(scope="module")
def digits():
    model, x, y = trained_digits()
    return model, x[:10], y[:10]


ATTACKED = protocol_attacks("strongest")
ASKED = {
    "eps": [0.1],
    "attacks": {name: ATTACKED[name] for name in ("pgd", "soft-t")}
    | {"survivors": ATTACKED["survivors"].with_settings({"generations": 3})},
    "health": "ignore",
}


@pytest.fixture(scope="module")
def whole(digits):
    return breaking_radii(*digits, **ASKED)


@pytest.mark.parametrize("size", [7, 64])
def test_the_same_bytes_for_any_batch_size(digits, whole, size):
    again = breaking_radii(*digits, **ASKED, batch_size=size)
    assert again.rows.equals(whole.rows)
    assert again.card.queries == whole.card.queries


def test_halves_give_the_same_bytes_as_the_whole(digits, whole):
    model, x, y = digits
    halves = [slice(0, 4), slice(4, 10)]
    parts = [breaking_radii(model, x[rows], y[rows], ids=torch.arange(10)[rows], **ASKED) for rows in halves]
    for name in ("pgd", "soft-t", "survivors"):
        assert [value for part in parts for value in part.rows[name]] == whole.rows[name].tolist()
        assert sum(part.card.queries[name].gradient for part in parts) == whole.card.queries[name].gradient


def test_islands_give_the_same_bytes_for_halves_and_lose_no_better_point(digits, monkeypatch):
    monkeypatch.setattr(search, "PATIENCE", 1)
    monkeypatch.setattr(search, "REACH", 10.0)
    monkeypatch.setattr(search, "RISE", 1.0)
    model, x, y = digits
    with frozen(model):
        attempt = attempt_on(model, x[:2], 0.02, y[:2])
        short, long = (search.survivors(attempt, targets=2, generations=count) for count in (1, 4))
        halves = [search.survivors(attempt[rows], targets=2, generations=4) for rows in torch.arange(2).split(1)]
        leads = [wrong_lead(attempt.victim.logits(images), attempt.y)[0] for images in (short, long)]
    assert torch.equal(torch.cat(halves), long)
    assert (leads[0] < 0).all()
    assert (leads[1] >= leads[0]).all()


def test_survivors_are_asked_about_what_stands(digits, whole):
    assert (whole.rows["survivors"] <= whole.rows[["pgd", "soft-t"]].min(axis=1)).all()
    easy = breaking_radii(*digits, eps="1", attacks="pgd,survivors", health="ignore")
    assert (easy.rows["pgd"] <= 1).all()
    assert easy.card.queries["survivors"].gradient == 0


def test_a_search_in_which_nothing_moves_ends_after_five_generations():
    """A linear model: the corner that is best is reached at once, and lies beyond the boundary by no step."""
    problem = linear("linf", samples=2)
    attempt = attempt_on(problem.model, problem.x, 0.095, problem.y)

    def gradients(generations: int) -> int:
        before = attempt.victim.queries.gradient
        search.survivors(attempt, targets=1, generations=generations)
        return attempt.victim.queries.gradient - before

    four, five, twelve = (gradients(count) for count in (4, 5, 12))
    assert four < five == twelve


class Smooth(nn.Module):
    def forward(self, x):
        return F.gelu(x.flatten(1) - 0.5)[:, :3]


def test_what_an_attack_does_without_is_said_by_name(digits, whole):
    assert whole.card.warnings is None
    x, y = torch.rand(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64)
    asked = {"eps": [0.1], "attacks": "fgsm,soft-t,survivors", "health": "ignore"}
    with pytest.warns(UserWarning, match="no ReLU"):
        told = breaking_radii(Smooth(), x, y, **asked).card.warnings
    assert told == [
        "attack 'soft-t' climbs plainly: torch sees no ReLU in this model",
        "attack 'survivors' climbs plainly: torch sees no ReLU in this model",
        "attack 'survivors' runs without its linear programme and without starts that switch units for the same reason",
    ]
    model, x, y = digits
    with pytest.warns(UserWarning, match="linear programme"):
        told = breaking_radii(model, x[:1], y[:1], norm="l2", **{**asked, "eps": [0.01]}).card.warnings
    words = "its balls are boxes in norm 'linf' alone, and this is 'l2'"
    assert told == [f"attack 'survivors' runs without its linear programme: {words}"]


def test_survivors_refuse_noise_by_name(digits):
    with pytest.raises(BadInput, match="attack 'survivors' cannot serve view 'fresh'"):
        noisy_readings(*digits, eps=[0.1], attacks="pgd,survivors")


def test_the_strongest_protocol_ranks_and_the_strict_one_is_as_it_was():
    assert PROTOCOLS["strongest"].attacks[-1] == "survivors"
    assert strong_enough(PROTOCOLS["strongest"].attacks, noise=False)
    assert PROTOCOLS["strict"].attacks == ("fgsm", "deepfool", "bim", "pgd", "apgd-ce", "fab-t", "apgd-t", "square")
    assert protocol_attacks("strict")["apgd-t"] is ATTACKS["apgd-t"]
    assert protocol_attacks("strongest")["apgd-t"].settings["targets"] == 2


class Corner(nn.Module):
    """Logit 1 rises with x₀ + 0.9 x₁, and falls steeply once x₀ + x₁ is above 1."""

    def forward(self, x):
        pixels = x.flatten(1)
        lead = pixels @ torch.tensor([[1.0], [0.9]]) - 10 * torch.relu(pixels.sum(1, keepdim=True) - 1)
        return torch.cat([torch.ones_like(lead), lead], dim=1)


def attempt_on(model, x, eps, y=None):
    y = torch.zeros(len(x), dtype=torch.int64) if y is None else y
    draw = sample_draw(0, torch.arange(len(x)))
    asked = victim(view(model), draw, batch_size=16)
    return Attempt(asked, x, y, torch.full((len(x),), eps), draw, NORMS["linf"])


def test_the_linear_programme_finds_the_vertex_of_region_and_ball():
    attempt = attempt_on(Corner(), torch.tensor([[0.5, 0.45]]).view(1, 1, 1, 2), 0.1)
    best = vertex(attempt, attempt.x, torch.tensor([1]))
    torch.testing.assert_close(best.flatten(), torch.tensor([0.6, 0.4]))
    assert vertex(attempt_on(Halfway(F.gelu), attempt.x, 0.1), attempt.x, torch.tensor([1])) is None


@pytest.mark.parametrize(
    "layer", [nn.Sequential(nn.Flatten(), nn.Linear(16, 6)), nn.Sequential(nn.Conv2d(1, 2, 3), nn.Identity())]
)
def test_slopes_of_a_first_layer_that_is_linear_in_the_pixels(layer):
    model = nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    x = torch.rand(4, 1, 4, 4)
    model(x)
    with frozen(model):
        found = first_layer(view(model), x[:1])
        torch.testing.assert_close(x.flatten(1) @ found.slope.T + found.offset, layer(x).flatten(1))


@pytest.mark.parametrize("bent", [torch.square, F.gelu])
def test_a_first_layer_that_is_not_linear_gives_no_corners(bent):
    class Bent(nn.Module):
        def forward(self, x):
            return torch.relu(bent(x.flatten(1)))[:, :2]

    assert first_layer(view(Bent()), torch.rand(1, 1, 2, 2)) is None


def test_no_attack_is_below_the_exact_radius_and_the_strongest_reach_it():
    model, x, y = tiny_digits(6)
    right = (model(x).argmax(1) == y).nonzero().squeeze(1)[:6]
    exact = [exact_radius(model, x[row], int(y[row]), 0.15) for row in right]
    grid = [step / 200 for step in range(1, 31)]
    found = breaking_radii(model, x[right], y[right], eps=grid, protocol="strongest", health="ignore").all_attacks_N
    for radius, truth in zip(found, exact, strict=True):
        assert radius == min((float(torch.tensor(step)) for step in grid if step + 1e-6 >= truth), default=float("inf"))
