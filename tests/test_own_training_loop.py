"""A `Bottleneck` in a training loop written for an ordinary `nn.Module`: `train()`, `eval()` and `model(x)`."""

import pytest
import torch
from torch.nn import functional as F

from ibrobust.datasets import load_dataset
from ibrobust.images import as_images
from ibrobust.models import architecture, build_model
from ibrobust.models.bottleneck import Bottleneck, view
from ibrobust.models.noise import LEARNED, NO_NOISE, ZERO_ENTROPY, LatentNoise
from ibrobust.randomness import sample_draw

SHAPE = (1, 12, 12)


def model(name: str = "mlp", noise: LatentNoise = ZERO_ENTROPY, decoder: str = "linear", **rates) -> Bottleneck:
    return build_model(architecture(name, **rates), shape=SHAPE, classes=10, latent=8, noise=noise, decoder=decoder)


def images(count: int = 16) -> torch.Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0))


def test_a_new_model_answers_without_noise() -> None:
    assert not model().training
    assert torch.equal(model()(images()), model().mean_path(images()))


@pytest.mark.parametrize(
    ("name", "noise", "rates"),
    [
        ("mlp", ZERO_ENTROPY, {}),
        ("mlp", LEARNED, {}),
        ("mlp-1024", NO_NOISE, {"dropout": 0.5}),
        ("resnet-small", NO_NOISE, {"dropconnect": 0.5}),
        ("resnet-small", NO_NOISE, {}),
    ],
    ids=["latent noise", "learned noise", "dropout", "dropconnect", "batch norm"],
)
def test_training_mode_is_noisy_and_evaluation_mode_is_not(name: str, noise: LatentNoise, rates: dict) -> None:
    trained, x = model(name, noise, **rates), images()
    mean = trained(x)
    trained.train()
    torch.manual_seed(1)
    once = trained(x)
    assert not torch.allclose(once, mean, atol=1e-4)
    torch.manual_seed(1)
    assert torch.equal(trained(x), once), "torch's seed decides, as for any module"
    trained.eval()
    assert torch.equal(trained(x), trained.mean_path(x))
    if name != "resnet-small":  # batch norm has moved its statistics
        assert torch.equal(trained(x), mean)


def test_batch_norm_follows_the_batches_in_training_mode_alone() -> None:
    trained, x = model("resnet-small", NO_NOISE), images()
    norms = [module for module in trained.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    trained(x)
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))
    trained.train()
    trained(x)
    assert not any(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))


def test_latent_noise_is_that_of_the_law() -> None:
    """A decoder that hands the latent through."""
    trained = Bottleneck(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 4)), torch.nn.Identity(), noise=ZERO_ENTROPY,
        pixel_mean=torch.zeros(1), pixel_std=torch.ones(1),
    )  # fmt: skip
    x = images(1).expand(20_000, -1, -1, -1)
    mean = trained(x)
    torch.manual_seed(0)
    deviation = (trained.train()(x) - mean).double()
    assert deviation.mean().item() == pytest.approx(0, abs=0.005)
    assert deviation.std().item() == pytest.approx(ZERO_ENTROPY.std, rel=0.02)


def test_evaluations_depend_on_no_mode() -> None:
    trained, x, draw = model("resnet-small", dropout=0.3), images(), sample_draw(0, torch.arange(16))
    for name in ("mean", "fresh", "averaged:3"):
        answers = [view(trained.train(mode), name)(x, draw) for mode in (True, False)]
        assert torch.equal(*answers)


def test_a_categorical_latent_trains_on_the_exact_mixture() -> None:
    trained = model("mlp", NO_NOISE, decoder="network")
    x = images()
    assert torch.equal(trained.train()(x), trained.eval()(x))


def test_an_ordinary_loop_trains_it() -> None:
    """What an ordinary module learns in as many steps: above .9 on digits, its noise on while it learns."""
    data = load_dataset("digits")
    trained = build_model(architecture("mlp"), shape=data.shape, classes=10, latent=16, noise=ZERO_ENTROPY)
    optimizer = torch.optim.Adam(trained.parameters(), 1e-3)
    x, y = as_images(data.train.x), data.train.y
    torch.manual_seed(0)
    trained.train()
    for _ in range(15):
        for rows in torch.randperm(len(x)).split(64):
            loss = F.cross_entropy(trained(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    trained.eval()
    assert (trained(as_images(data.test.x)).argmax(1) == data.test.y).float().mean() > 0.85
