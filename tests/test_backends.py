"""The protocol through other people's libraries: the same table, the same counts, and nothing taken on trust."""

import importlib
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ibrobust.attacks import ATTACKS
from ibrobust.attacks.losses import SURE, margin
from ibrobust.backends import BACKENDS, CONSTANT_STEPS, adapter_of, peer_breaking_radii
from ibrobust.backends.adapter import Adapter, Call, PeerAttack
from ibrobust.backends.comparison import compared
from ibrobust.errors import BadInput, RunFailed
from ibrobust.registry import Registry
from ibrobust.robustness.breaking_radii import breaking_radii
from ibrobust.robustness.protocols import PROTOCOLS
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.samples import usable_samples
from ibrobust.robustness.settings import make_settings
from tests.oracles import linear, linear_at_the_edge, trained_digits

PAPER = [backend for backend in BACKENDS if backend != "pyautoattack"]
"""Libraries that have the attacks of the paper's protocol."""
INSTALLED = [backend for backend in PAPER if importlib.util.find_spec(backend)]
NEEDS_A_LIBRARY = pytest.mark.skipif(not INSTALLED, reason="ibrobust[peers] is not installed")
EVERY_BACKEND = pytest.mark.parametrize(
    "backend",
    [
        pytest.param(
            backend, marks=pytest.mark.skipif(backend not in INSTALLED, reason="ibrobust[peers] not installed")
        )
        for backend in sorted(PAPER)
    ],
)


def through_library(backend: str, model: nn.Module, x: torch.Tensor, y: torch.Tensor, **settings) -> BreakingRadii:
    """The table that a library's attacks make."""
    return peer_breaking_radii(model, usable_samples(x, y), make_settings({**settings, "backend": backend}))


BOTH_NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])
"""Those that the libraries know with our attacks."""
SHORT_SQUARE = {"queries": 500, "area": 0.8, "restarts": 1}
STEPS_IN_L2 = {("torchattacks", "deepfool", "linf"), ("art", "deepfool", "linf")}


@EVERY_BACKEND
@BOTH_NORMS
@pytest.mark.parametrize("attack", PROTOCOLS["paper"].attacks)
def test_a_boundary_at_a_tenth_survives_9_hundredths_and_falls_at_11(backend: str, attack: str, norm: str) -> None:
    problem = linear(norm)
    radii = [0.05, 0.09, 0.11, 1.0]
    results = through_library(backend, problem.model, problem.x, problem.y, eps=radii, norm=norm, attacks=[attack])
    answers = results.rows[attack].to_numpy()
    if (backend, attack, norm) in STEPS_IN_L2:
        # The nearest image in L2 is further in L∞ than the nearest in L∞, and never nearer.
        assert (answers >= np.float32(0.11)).all()
        assert "steps in L2" in results.card.attacks[attack]["deviation"]
    else:
        assert (answers == np.float32(0.11)).all()


TARGETED = ("apgd-ce", "apgd-t", "fab-t")
STRICT = [
    *((backend, attack) for backend in ("pyautoattack", "torchattacks") for attack in TARGETED),
    ("art", "apgd-ce"),
]


@BOTH_NORMS
@pytest.mark.parametrize(("backend", "attack"), STRICT)
def test_the_attacks_of_strict_find_a_linear_boundary_to_1_percent(backend: str, attack: str, norm: str) -> None:
    pytest.importorskip(backend)
    problem = linear(norm)
    radii = [0.05, 0.0999, 0.101, 1.0]
    results = through_library(backend, problem.model, problem.x, problem.y, eps=radii, norm=norm, attacks=[attack])
    assert (results.rows[attack].to_numpy() == np.float32(0.101)).all()


@pytest.mark.parametrize("backend", ["torchattacks", "pyautoattack", "art"])
def test_square_through_a_library_breaks_nothing_inside_the_boundary(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random search has no guarantee from above; on 64 pixels it comes within a third, and a step of the radii."""
    pytest.importorskip(backend)
    short = replace(ATTACKS["square"], settings=SHORT_SQUARE)
    monkeypatch.delitem(ATTACKS, "square")
    monkeypatch.setitem(ATTACKS, "square", short)
    problem = linear_at_the_edge("linf")
    radii = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4]
    results = through_library(backend, problem.model, problem.x, problem.y, eps=radii, attacks=["square"])
    exact, found = problem.distance.numpy(), results.rows["square"].to_numpy()
    assert (found >= exact).all()
    if backend == "pyautoattack":  # Its patches are as large as after 500 of 10,000 queries, and leave out two edges.
        assert np.isfinite(found).mean() >= 0.9
    else:
        assert (found <= 1.3 * exact + 0.05).all()


@EVERY_BACKEND
def test_one_step_and_ten_steps_agree_with_ours_on_trained_digits(backend: str) -> None:
    """Without a random start there is nothing to differ in but the last bit, where the model is not so sure that the
    libraries' gradient of the cross-entropy loses the label's part to rounding."""
    model, x, y = trained_digits()
    unsure = -margin(model(x[:200]), y[:200]) < SURE
    assert unsure.sum() > 100
    x, y = x[:200][unsure], y[:200][unsure]
    attacks = ["fgsm", "bim"]
    theirs = through_library(backend, model, x, y, eps="0:0.2:6", attacks=attacks)
    ours = {name: replace(ATTACKS[name], settings=theirs.card.attacks[name]) for name in attacks}
    table = compared(breaking_radii(model, x, y, eps="0:0.2:6", attacks=ours), theirs)
    assert table["agree"].min() >= 0.995
    assert set(table["attack"]) == {*attacks, "all"}


@EVERY_BACKEND
def test_same_columns_same_clean_predictions_and_a_card_that_names_the_library(backend: str) -> None:
    model, x, y = trained_digits()
    ours = breaking_radii(model, x[:20], y[:20], eps=[0.0, 0.05], seed=3)
    theirs = through_library(backend, model, x[:20], y[:20], eps=[0.0, 0.05], seed=3)
    assert list(theirs.rows.columns) == list(ours.rows.columns)
    assert (theirs.rows.dtypes == ours.rows.dtypes).all()
    known = ["sample", "label", "prediction", "zero_gradient"]
    assert theirs.rows[known].equals(ours.rows[known])
    asked = {"backend": backend, "search": "exhaustive"}
    assert theirs.card.settings == ours.card.settings.model_copy(update=asked)
    for attack, settings in theirs.card.attacks.items():
        as_they_can = ours.card.attacks[attack] | CONSTANT_STEPS.get(attack, {})
        assert {name: value for name, value in settings.items() if name != "deviation"} == as_they_can


@pytest.mark.parametrize("attack", sorted(CONSTANT_STEPS))
def test_the_libraries_steps_can_cross_the_ball(attack: str) -> None:
    settings = ATTACKS[attack].settings | CONSTANT_STEPS[attack]
    assert settings["steps"] * settings["step"] >= (2 if settings["random_start"] else 1)


@EVERY_BACKEND
def test_the_same_seed_gives_the_same_table_and_leaves_the_global_generators_alone(backend: str) -> None:
    model, x, y = trained_digits()
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(1).item(), np.random.rand()

    def tables() -> BreakingRadii:
        torch.manual_seed(5)
        np.random.seed(5)
        results = through_library(backend, model, x[:40], y[:40], eps=[0.1, 0.15], attacks=["pgd"])
        assert (torch.rand(1).item(), np.random.rand()) == expected
        return results

    assert tables().rows.equals(tables().rows)


@EVERY_BACKEND
def test_gradients_are_counted_where_the_library_asks_for_them(backend: str) -> None:
    """Every sample survives both radii: one gradient per step, sample and radius, whatever the library reports."""
    problem = linear("linf")
    results = through_library(
        backend, problem.model, problem.x, problem.y, eps=[0.01, 0.02], attacks=["fgsm", "bim", "pgd"]
    )
    assert (results.all_attacks_N == np.inf).all()
    steps = {"fgsm": 1, "bim": 10, "pgd": 40}
    gradients = {attack: results.card.queries[attack].gradient for attack in steps}
    assert gradients == {attack: 2 * len(problem.x) * count for attack, count in steps.items()}


@EVERY_BACKEND
def test_only_standing_samples_go_on_to_the_next_radius(backend: str) -> None:
    near, far = linear("linf", boundary=0.1), linear("linf", boundary=0.05)
    x, y = torch.cat([near.x, far.x]), torch.cat([near.y, far.y])
    results = through_library(backend, near.model, x, y, eps=[0.01, 0.07, 0.2], attacks=["fgsm"])
    assert results.card.queries["fgsm"].gradient == 40 + 40 + 20


@EVERY_BACKEND
def test_an_attack_may_be_spared_what_fell_before(backend: str) -> None:
    """FGSM breaks everything at 0.11; BIM is then asked below that alone, and breaks nothing there."""
    problem = linear("linf")
    settings = {"eps": [0.05, 0.11, 0.2], "attacks": ["fgsm", "bim"]}
    own = through_library(backend, problem.model, problem.x, problem.y, **settings)
    standing = through_library(backend, problem.model, problem.x, problem.y, **settings, columns="standing")
    assert (own.breaking_eps_AN == np.float32(0.11)).all()
    assert (standing.breaking_eps_AN == np.float32(0.11)).all()
    assert own.card.queries["bim"].gradient == 2 * 20 * 10
    assert standing.card.queries["bim"].gradient == 20 * 10


@NEEDS_A_LIBRARY
def test_an_attack_that_a_library_lacks_is_refused_by_name() -> None:
    problem = linear("linf")
    with pytest.raises(BadInput, match=r"^foolbox has no apgd-ce, square in linf; it has bim, deepfool, fgsm, pgd$"):
        through_library("foolbox", problem.model, problem.x, problem.y, attacks=["fgsm", "apgd-ce", "square"])


def test_an_unknown_backend_lists_the_known_ones() -> None:
    with pytest.raises(BadInput, match="no backend 'cleverhans'; choose from art, foolbox, pyautoattack, torchattacks"):
        adapter_of("cleverhans")


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_a_library_that_is_not_installed_names_the_extra(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name == backend or name.startswith(f"{backend}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, backend, None)
    monkeypatch.delitem(sys.modules, f"ibrobust.backends.{backend}", raising=False)
    fresh = Registry("backend", {backend: f"backends.{backend}:ADAPTER"})
    monkeypatch.setattr("ibrobust.backends.BACKENDS", fresh)
    with pytest.raises(BadInput, match=rf"backend '{backend}' is not installed .*pip install 'ibrobust\[peers\]'"):
        adapter_of(backend)


def through(monkeypatch: pytest.MonkeyPatch, run) -> BreakingRadii:
    """A library whose only attack is `run`, on the linear problem."""
    adapter = Adapter({("fgsm", "linf"): PeerAttack(run)})
    monkeypatch.setattr("ibrobust.backends.adapter_of", lambda backend: adapter)
    problem = linear("linf")
    return through_library("foolbox", problem.model, problem.x, problem.y, eps=[0.05, 0.2], attacks=["fgsm"])


def crossing(call: Call) -> torch.Tensor:
    """What every sample of the problem falls to: a step of 0.15 against its class."""
    weight = linear("linf").model[1].weight
    away = torch.sign(weight[1 - call.y] - weight[call.y]).view(call.x.shape)
    return call.x + 0.15 * away


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        (crossing, "attack 'fgsm' left the ball on samples"),
        (lambda call: call.x + 2, "attack 'fgsm' left .0, 1. or is not finite on samples"),
        (lambda call: call.x * torch.nan, "attack 'fgsm' left .0, 1. or is not finite on samples"),
        (lambda call: call.x[:, :, :2], "attack 'fgsm' (raised|returned shape)"),
        (lambda call: 1 / 0, "attack 'fgsm' raised on samples .*ZeroDivisionError"),
    ],
)
def test_what_a_library_returns_is_checked(monkeypatch: pytest.MonkeyPatch, lie, message: str) -> None:
    with pytest.raises(RunFailed, match=message):
        through(monkeypatch, lie)


def test_clean_images_are_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (through(monkeypatch, lambda call: call.x).all_attacks_N == np.inf).all()


@NEEDS_A_LIBRARY
def test_crosscheck_on_digits_ends_well(forked) -> None:
    words = ["--data", "digits", "--samples", "24", "--eps", "0:0.1:3", "--backends", *INSTALLED]
    process = forked("benchmarks.crosscheck", *words)
    assert process.wait() == 0, process.said()
    for backend in INSTALLED:
        assert f"native and {backend}: robust samples" in process.said()[0]
    assert "native leaves no more samples standing than any library" in process.said()[0]


def test_a_library_is_given_the_model_as_it_is(monkeypatch):
    pytest.importorskip("foolbox")
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))
    seen = set()
    model[0].register_forward_hook(lambda layer, _x, _answer: seen.add(layer.weight.is_contiguous()))
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    y = model(x).argmax(1)
    kernel = model[0].weight.data_ptr()
    through_library("foolbox", model, x, y, eps=[0.1], attacks=["fgsm"])
    assert seen == {True}
    assert model[0].weight.data_ptr() == kernel
    assert all(parameter.requires_grad for parameter in model.parameters())
