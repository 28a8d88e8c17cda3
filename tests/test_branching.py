"""Optimised slopes and branching: against exact radii and points inside each part of a ball, and their refusals."""

import random
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from ibrobust.certificates.certificate import certified_eps_N, certified_margins, piecewise_linear_network
from ibrobust.certificates.domains import Ball, Domain, bounded
from ibrobust.certificates.effort import Budget, Effort
from ibrobust.certificates.layers import ReLU
from ibrobust.certificates.linear_bounds import linear_bounds
from ibrobust.certificates.refined import refined
from ibrobust.commands.certify import main as certify
from ibrobust.errors import BadInput
from ibrobust.files import released_zoo
from ibrobust.robustness.certified import CERTIFIED_SAMPLES
from tests.exact_radii import exact_radius
from tests.random_networks import SHAPES, random_network


def tiny(seed: int, hidden: int = 5, classes: int = 3) -> nn.Sequential:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, classes)
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.8)
    return model


@pytest.fixture(scope="module")
def exact():
    """Small networks, an image and its label each, and the exact radius, below 0.5."""
    cases = []
    for seed in (2, 5):
        model = tiny(seed, hidden=6)
        image = torch.rand(1, 1, 2, 2)
        label = model(image).argmax(1)
        cases.append((model, image, label, exact_radius(model, image, int(label), 0.5)))
    return cases


def test_branching_comes_to_the_exact_radius_and_never_beyond(exact):
    grid = [float(radius) for radius in np.linspace(0.02, 0.5, 25)]
    found = []
    for model, image, label, radius in exact:
        radii = [
            certified_eps_N(model, image, label, grid, effort=effort)[0]
            for effort in (None, Effort(branches=0), Effort(branches=60))
        ]
        assert max(radii) < radius
        assert radii[0] <= radii[1] <= radii[2]
        assert radii[2] >= radius - 0.0201
        found.append(radii)
    plain, slopes, branches = np.mean(found, axis=0)
    assert plain < slopes < branches


def values_at(network, points):
    """Every value of the network at some points, in float64 without roundings."""
    boxes = [(points, points)]
    for step in network:
        boxes.append(step.layer.interval(*[boxes[value] for value in step.inputs]))
    return [low for low, _ in boxes]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_bounds_of_parts_hold_at_every_point_in_them(seed):
    choices = random.Random(1000 + seed)
    torch.manual_seed(seed)
    while True:
        shape = choices.choice(SHAPES)
        model = random_network(choices.choice, shape, 3)
        x, eps = torch.rand(1, *shape).double(), choices.choice([0.05, 0.3])
        try:
            network = piecewise_linear_network(model, shape, x.device)
        except BadInput:
            continue
        if any(isinstance(step.layer, ReLU) for step in network):
            break
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    with torch.no_grad():
        ball = Ball(linear_bounds(network, low, high), 0)
    narrow = Ball(refined(ball, Budget(Effort(branches=0))), 0)
    points = low + (high - low) * torch.cat([torch.rand(500, *shape), torch.randint(2, (500, *shape))]).double()
    values = values_at(network, points)
    for value, (least, most) in enumerate(narrow.bounds.box):
        assert ((values[value] >= least - 1e-9) & (values[value] <= most + 1e-9)).all()
    margins = values[-1][:, :1] - values[-1]
    domains = bounded(narrow, [Domain(1), Domain(2)], steps=3, enough=torch.inf).domains
    for _ in range(3):
        cut = [
            side
            for domain in domains
            for pair in map(lambda at, d=domain: d.cut(*at), domain.candidates[:1])
            for side in pair
        ]
        domains = bounded(narrow, cut, steps=3, enough=torch.inf).domains if cut else domains
        covered = torch.zeros(3, len(points), dtype=torch.bool)
        for domain in domains:
            inside = torch.ones(len(points), dtype=torch.bool)
            for value, entry, on in domain.splits:
                z = values[value].flatten(1)[:, entry]
                inside &= z >= 0 if on else z <= 0
            covered[domain.target] |= inside
            assert (margins[inside, domain.target] >= domain.lower).all()
        assert not cut or covered[[d.target for d in domains]].all()


def test_optimised_slopes_are_at_least_as_good_as_the_usual_ones():
    model = tiny(3, hidden=12)
    network = piecewise_linear_network(model, (1, 2, 2), torch.device("cpu"))
    x, eps = torch.full((1, 1, 2, 2), 0.5).double(), 0.2
    usual = certified_margins(network, x, torch.tensor([0]), torch.tensor([eps], dtype=torch.float64))
    ball = Ball(linear_bounds(network, x - eps, x + eps), 0)
    none, some = (
        [domain.lower for domain in bounded(ball, [Domain(1), Domain(2)], steps=steps, enough=torch.inf).domains]
        for steps in (0, 20)
    )
    np.testing.assert_allclose(none, usual[0, 1:], rtol=1e-12)
    assert (np.array(some) > np.array(none) + 1e-3).all()


def test_branches_give_the_same_radii_for_any_batch_size():
    model = tiny(1, hidden=8)
    x = torch.rand(5, 1, 2, 2)
    y = model(x).argmax(1)
    one, all_of_them = (
        certified_eps_N(model, x, y, "0:0.4:21", effort=Effort(branches=30), batch_size=size) for size in (1, 5)
    )
    np.testing.assert_array_equal(one, all_of_them)


def test_effort_ends_below_what_an_attack_broke(exact):
    model, image, label, radius = max(exact, key=lambda case: case[3])
    grid = [float(each) for each in np.linspace(0.005, 0.5, 100)]
    plain = certified_eps_N(model, image, label, grid)[0]
    attacked = [plain + 0.006]
    found = certified_eps_N(model, image, label, grid, effort=Effort(branches=400), attacked=attacked)[0]
    assert plain <= found < attacked[0] < radius


def test_a_second_is_enough_for_a_tiny_network(exact):
    model, image, label, radius = exact[0]
    found = certified_eps_N(model, image, label, [radius * 0.9, radius * 1.1], effort=Effort(seconds=60.0))[0]
    assert found == np.float32(radius * 0.9)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "an effort needs branches or seconds"),
        ({"branches": -1}, "branches -1: a whole number of at least 0"),
        ({"seconds": 0.0}, "seconds 0.0: a number above 0"),
        ({"seconds": float("nan")}, "seconds nan: a number above 0"),
    ],
)
def test_an_effort_that_is_none_is_refused(asked, said):
    with pytest.raises(BadInput, match=said):
        Effort(**asked)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--branches", "-1"], "'-1' is not a whole number from 0"),
        (["--branches", "many"], "'many' is not a whole number from 0"),
        (["--seconds", "0"], "'0' is not a number of seconds above 0"),
        (["--seconds", "inf"], "'inf' is not a number of seconds above 0"),
        (["--seconds", "soon"], "'soon' is not a number of seconds above 0"),
        (["--norm", "l2", "--branches", "1"], "unrecognized arguments: --norm"),
    ],
)
def test_bad_flags_are_one_line(flags, said, capsys):
    with pytest.raises(SystemExit) as ended:
        certify(flags)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_the_command_branches_and_says_so(tmp_path, monkeypatch):
    """More is certain than by plain bounds, which name no effort."""
    monkeypatch.chdir(tmp_path)
    stored = min((released_zoo() / "results" / "paper").glob("digits-mlp-none-*-s0-*.parquet"))
    (tmp_path / "results" / "paper").mkdir(parents=True)
    shutil.copy(stored, tmp_path / "results" / "paper")
    words = [str(released_zoo() / "runs" / stored.stem), "--samples", "2"]
    certify(words)
    plain = pd.read_csv(tmp_path / "results" / "certified.csv")
    assert not {"branches", "seconds"} & set(plain)
    certify([*words, "--branches", "4"])
    tables = [pd.read_csv(tmp_path / "results" / name) for name in ("certified.csv", CERTIFIED_SAMPLES)]
    assert all((table["branches"] == 4).all() and "seconds" not in table for table in tables)
    assert tables[0]["certified"][0] > plain["certified"][0]
    assert tables[0]["refuted"][0] == 0
