"""The certificate against exact distances, a dense twin of every convolution, and attacks."""

import shutil
from copy import deepcopy
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import linprog
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from ibrobust.attacks.norms import BALL_TOLERANCE
from ibrobust.certificates.certificate import certified_eps_N, certified_margins, piecewise_linear_network
from ibrobust.commands.certify import main as certify
from ibrobust.errors import BadInput, RunFailed
from ibrobust.files import released_zoo
from ibrobust.models.bottleneck import Bottleneck
from ibrobust.models.noise import LatentNoise
from ibrobust.robustness.breaking_radii import breaking_radii
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.storage import load_results, save_results


def bottleneck(encoder: nn.Module, *, latent: int, classes: int, channels: int = 1, noise_std: float | None = 0.0):
    mean, std = torch.full((channels,), 0.3), torch.full((channels,), 0.5)
    return Bottleneck(
        encoder, nn.Linear(latent, classes), noise=LatentNoise(noise_std), pixel_mean=mean, pixel_std=std
    ).eval()


def margins(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    return certified_margins(
        piecewise_linear_network(model, x.shape[1:], x.device),
        x.double(),
        y,
        torch.full((len(x),), eps, dtype=torch.float64),
    )


def test_a_linear_model_is_certified_up_to_its_exact_distance():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).double()
    x = 0.4 + 0.2 * torch.rand(20, 1, 3, 4, dtype=torch.float64)
    logits = model(x).detach()
    y = logits.argmax(1)
    differences = model[1].weight.detach()[y][:, None] - model[1].weight.detach()
    gaps = logits.gather(1, y[:, None]) - logits
    eps = 0.05
    expected = gaps - eps * differences.abs().sum(2)
    torch.testing.assert_close(margins(model, x, y, eps), expected, rtol=1e-12, atol=1e-12)

    distances = (gaps / differences.abs().sum(2)).nan_to_num(torch.inf).amin(1).numpy()
    radii = np.linspace(0.001, 0.2, 200)
    certified = certified_eps_N(model.float(), x.float(), y, list(radii))
    slack = 1e-5 + BALL_TOLERANCE
    largest_below = [max([0.0, *radii[radii < distance - slack]]) for distance in distances]
    assert (certified > 0).any()
    np.testing.assert_allclose(certified, np.float32(largest_below))


def exact_distance(model: nn.Sequential, x: Tensor, y: int) -> float:
    """The smallest L∞ perturbation inside [0, 1] that makes another class win, over every activation pattern."""
    weight, bias, decoder, offset = (parameter.detach().double().numpy() for parameter in model.parameters())
    point = x.flatten().double().numpy()
    best = np.inf
    for pattern in product([0.0, 1.0], repeat=len(bias)):
        active = np.array(pattern)
        side = (1 - 2 * active)[:, None]
        for rival in set(range(len(offset))) - {y}:
            difference = (decoder[y] - decoder[rival]) * active
            rows = np.concatenate([side * weight, difference[None] @ weight])
            limits = np.append(-side[:, 0] * bias, offset[rival] - offset[y] - difference @ bias)
            size = len(point)
            ball = np.concatenate([np.eye(size), -np.eye(size)])
            rows = np.concatenate([np.pad(rows, ((0, 0), (0, 1))), np.c_[ball, -np.ones(2 * size)]])
            limits = np.concatenate([limits, point, -point])
            bounds = [(0, 1)] * size + [(0, best if np.isfinite(best) else None)]
            answer = linprog(np.eye(size + 1)[-1], A_ub=rows, b_ub=limits, bounds=bounds)
            best = min(best, answer.fun) if answer.status == 0 else best
    return best


@pytest.mark.parametrize("seed", range(3))
def test_never_beyond_the_exact_distance_of_a_small_network(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    x = torch.rand(4, 1, 2, 2)
    y = model(x).argmax(1)
    exact = np.array([exact_distance(model, image, int(label)) for image, label in zip(x, y, strict=True)])
    certified = certified_eps_N(model, x, y, list(np.linspace(0.002, 1, 500)))
    assert (certified < exact).all()
    # One hidden layer: on small balls few ReLUs are undecided, and the linear bounds are close.
    assert certified.sum() > 0.5 * np.minimum(exact, 1).sum()


CONVOLUTIONS = {
    "padding": [nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()],
    "stride": [nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 2, stride=2), nn.ReLU()],
    "groups and shapes": [
        nn.Conv2d(2, 4, (3, 2), padding=(2, 1), groups=2, bias=False), nn.ReLU(), nn.Conv2d(4, 3, (1, 3)), nn.ReLU(),
        nn.Conv2d(3, 3, 2, stride=(2, 1)), nn.ReLU(),
    ],
    "average pooling": [nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(3, 4, 2, padding=1), nn.ReLU()],
    "dilation": [nn.Conv2d(2, 4, 3, padding=2, dilation=(2, 1)), nn.ReLU(), nn.Conv2d(4, 3, 2, dilation=2), nn.ReLU()],
    "adaptive pooling": [nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d((3, 5)), nn.Conv2d(3, 4, 2), nn.ReLU()],
    "normalisation": [nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()],
}  # fmt: skip


def dense_twin(module: nn.Module, shape: torch.Size) -> nn.Module:
    """The same function of flattened images as one matrix, in float64."""
    if isinstance(module, nn.ReLU):
        return module
    size = shape.numel()
    with torch.no_grad():
        images = torch.cat([torch.zeros(1, size), torch.eye(size)]).double().view(-1, *shape)
        answers = module(images).flatten(1)
    twin = nn.Linear(size, answers.shape[1], dtype=torch.float64)
    twin.weight.data, twin.bias.data = (answers[1:] - answers[0]).T.contiguous(), answers[0]
    return twin


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_bounds_over_patches_equal_those_of_the_dense_matrices(name):
    torch.manual_seed(1)
    # In float64: no bound is lowered by what a longer sum may round, no ReLU's lower line chosen by the last bits.
    encoder = deepcopy(nn.Sequential(*CONVOLUTIONS[name])).eval().double()
    for module in encoder:
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.reset_parameters()
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
    x = torch.rand(3, 2, 7, 6).double()
    shapes, features = [], x
    with torch.no_grad():
        for module in encoder:
            shapes.append(features.shape[1:])
            features = module(features)
    head = nn.Linear(features[0].numel(), 5).double()
    model = nn.Sequential(*encoder, nn.Flatten(), head).eval()
    twins = [dense_twin(module, shape) for module, shape in zip(encoder, shapes, strict=True)]
    dense = nn.Sequential(nn.Flatten(), *_without_chains(twins), head)
    y = model(x).argmax(1)
    torch.testing.assert_close(margins(model, x, y, 0.1), margins(dense, x, y, 0.1), rtol=1e-9, atol=1e-9)


def _without_chains(modules: list[nn.Module]) -> list[nn.Module]:
    """Two matrices in a row as one, as the bounds see them."""
    kept: list[nn.Module] = []
    for module in modules:
        if kept and isinstance(module, nn.Linear) and isinstance(kept[-1], nn.Linear):
            joint = nn.Linear(kept[-1].in_features, module.out_features, dtype=torch.float64)
            joint.weight.data = module.weight.data @ kept[-1].weight.data
            joint.bias.data = module.weight.data @ kept[-1].bias.data + module.bias.data
            kept[-1] = joint
        else:
            kept.append(module)
    return kept


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2), nn.MaxPool2d((2, 3), (1, 2))])
@pytest.mark.parametrize("eps", [0.003, 0.05, 0.6])
def test_no_sampled_answer_is_below_the_bounds(pool, eps):
    torch.manual_seed(2)
    encoder = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), pool, nn.Conv2d(4, 5, 3, padding=1), pool, nn.ReLU(), nn.Dropout(),
        nn.Flatten(), nn.LazyLinear(16),
    )  # fmt: skip
    x = torch.rand(4, 1, 10, 10)
    encoder(x)
    model = bottleneck(encoder, latent=8, classes=4, noise_std=None).double()
    x = x.double()
    y = model(x).argmax(1)
    bounds = margins(model, x, y, eps)
    start = (x + eps * (2 * torch.rand(200, 4, 1, 10, 10).double() - 1).sign()).clamp(0, 1).flatten(0, 1)
    with torch.no_grad():
        logits = model(start).view(200, 4, 4)
    seen = (logits.gather(2, y.expand(200, 4)[..., None]) - logits).amin(0)
    assert (seen >= bounds - 1e-12).all()
    if eps == 0.003:
        # Near the point hardly anything is undecided: the bounds follow what is seen.
        clean = model(x).detach()
        assert bounds.sum() > 0.7 * (clean.gather(1, y[:, None]) - clean).sum()


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    data = load_digits()
    return torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, torch.tensor(data.target)


ENCODERS = {
    "mlp": lambda: [nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16)],
    "cnn": lambda: [
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 16),
    ],
}  # fmt: skip


def trained(encoder: list[nn.Module], x: Tensor, y: Tensor) -> Bottleneck:
    model = bottleneck(nn.Sequential(*encoder), latent=16, classes=10)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(5):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return model


@pytest.mark.parametrize("name", ENCODERS)
def test_no_attack_breaks_a_certified_radius(name, digits):
    x, y = digits
    torch.manual_seed(3)
    model = trained(ENCODERS[name](), x[:1400], y[:1400])
    x, y = x[1400:1440], y[1400:1440]
    results = breaking_radii(model, x, y, eps="0:0.2:21")
    certified = certified_eps_N(model, x, y, "0:0.2:21")
    wrong = results.all_attacks_N == 0
    assert (certified[wrong] == 0).all()
    assert (results.all_attacks_N > certified)[~wrong].all()
    assert certified.mean() > 0.2 * np.minimum(results.all_attacks_N, 0.2).mean()


def test_a_finer_grid_never_certifies_less(digits):
    x, y = digits
    torch.manual_seed(4)
    model = trained(ENCODERS["mlp"](), x[:1400], y[:1400])
    coarse, fine = (certified_eps_N(model, x[1400:1420], y[1400:1420], eps) for eps in ("0:0.2:6", "0:0.2:21"))
    assert (fine >= coarse).all()
    assert (fine - coarse < 0.04 + 1e-6).all()


def test_batches_and_bytes_do_not_change_the_answer(digits):
    x, y = digits
    torch.manual_seed(5)
    model = trained(ENCODERS["cnn"](), x[:1400], y[:1400]).train()
    pixels = (x[1400:1410] * 255).round().to(torch.uint8)
    one, seven = (certified_eps_N(model, pixels, y[1400:1410], "0:0.1", batch_size=size) for size in (1, 7))
    np.testing.assert_array_equal(one, seven)
    assert model.training


def test_released_runs_are_not_refuted_and_the_command_says_how_much_is_certain(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results" / "paper"
    results.mkdir(parents=True)
    released = sorted((released_zoo() / "results" / "paper").glob("digits-mlp-*-s0-*.parquet"))[::8]
    for path in released:
        shutil.copy(path, results)
    runs = [str(released_zoo() / "runs" / path.stem) for path in released]
    certify([*runs, "--samples", "20"])
    assert released[0].stem in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "results" / "certified.csv")
    assert list(table["run"]) == [path.stem for path in released]
    assert (table["refuted"] == 0).all()
    assert (table["certified@eps"] <= table["robust@eps"]).all()
    assert table["closed"].between(0.2, 1).all()

    # A claim that an attack broke everything at the first radius contradicts the certificate: that ends the command.
    claim = load_results(results / released[0].name)
    save_results(
        BreakingRadii(claim.rows.assign(pgd=claim.rows["pgd"].clip(upper=np.float32(0.01))), claim.card),
        results / released[0].name,
    )
    with pytest.raises(RunFailed, match="which is a bug"):
        certify([runs[0], "--samples", "20"])
    with pytest.raises(BadInput, match="evaluate it first"):
        certify([runs[0], "--protocol", "strict"])


GELU = """
from torch import nn
def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 10))
"""


def test_a_model_without_a_certificate_is_refused_before_it_has_to_be_evaluated(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(GELU)
    with pytest.raises(BadInput, match=r"^net-make-digits: no certificate .* no bounds for the operation 'gelu' in 2"):
        certify(["--model", "net.py:make", "--data", "digits"])
