"""Noise is an argument: what a view answers hangs on its name and its stream, and on nothing else."""

import math

import pytest
import torch

from ibrobust.errors import BadInput
from ibrobust.models import architecture, build_model
from ibrobust.models.bottleneck import Bottleneck, view
from ibrobust.models.noise import LatentNoise
from ibrobust.randomness import sample_draw

SHAPE = (1, 8, 8)


def model(noise_std: float | None = 0.3, seed: int = 0) -> Bottleneck:
    return build_model(architecture("mlp"), shape=SHAPE, classes=10, latent=16, noise=LatentNoise(noise_std), seed=seed)


def images(count: int = 6) -> torch.Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["mean", "fresh", "averaged:3"])
@pytest.mark.parametrize("noise_std", [0.3, None, 0.0])
def test_views_do_not_hang_on_train_or_eval(name: str, noise_std: float | None) -> None:
    noisy, draw = model(noise_std), sample_draw(0, torch.arange(6))
    seen = view(noisy, name)
    answers = [seen(images(), draw) for noisy.training in (True, False)]
    assert torch.equal(noisy.train() and seen(images(), draw), noisy.eval() and seen(images(), draw))
    assert torch.equal(*answers)


@pytest.mark.parametrize("name", ["fresh", "averaged:3"])
def test_views_take_their_noise_from_the_stream_of_each_sample(name: str) -> None:
    noisy, draw, x = model(), sample_draw(0, torch.arange(32)), images(32)
    seen = view(noisy, name)
    whole = seen(x, draw)
    torch.manual_seed(99)
    assert torch.equal(whole, seen(x, draw)), "torch's global generator must not matter"
    halves = torch.cat([seen(x[:16], draw[:16]), seen(x[16:], draw[16:])])
    torch.testing.assert_close(whole, halves)
    assert not torch.allclose(whole, seen(x, draw.fold("again")))


def test_the_latent_is_the_mean_and_normal_noise_of_the_given_size() -> None:
    noisy = model(0.3)
    x = images(1).expand(4000, -1, -1, -1)
    encoding = noisy.encode(x, sample_draw(3, torch.arange(4000)))
    residual = (encoding.z - encoding.mean) / encoding.std
    assert torch.equal(encoding.std, torch.full_like(encoding.mean, 0.3))
    # 64,000 standard normals: mean 0 ± 4/√64000, variance 1 ± 4·√(2/64000).
    assert residual.mean().item() == pytest.approx(0, abs=0.016)
    assert residual.var().item() == pytest.approx(1, abs=0.023)


def test_learned_noise_is_softplus_of_rho_minus_5() -> None:
    learned = model(None)
    encoding = learned.encode(images(), sample_draw(0, torch.arange(6)))
    features = learned.encoder(images())
    mean, rho = features[:, :16], features[:, 16:]
    torch.testing.assert_close(encoding.mean, mean)
    torch.testing.assert_close(encoding.std, torch.log1p(torch.exp(rho - 5)))


def test_without_noise_every_view_is_the_mean_path() -> None:
    silent, draw = model(0.0), sample_draw(0, torch.arange(6))
    mean = silent(images())
    assert torch.equal(view(silent, "fresh")(images(), draw), mean)
    torch.testing.assert_close(view(silent, "averaged:2")(images(), draw), mean.log_softmax(1))


def test_averaged_is_the_log_of_the_mean_probability() -> None:
    noisy, draw = model(), sample_draw(0, torch.arange(6))
    probability = torch.stack(
        [noisy.decoder(noisy.encode(images(), draw.fold(i)).z).softmax(1) for i in range(4)]
    ).mean(0)
    torch.testing.assert_close(view(noisy, "averaged:4")(images(), draw), probability.log())


def test_pixels_are_normalised_inside() -> None:
    scaled, plain = model(), model()
    scaled.pixel_mean.fill_(0.5)
    scaled.pixel_std.fill_(0.25)
    torch.testing.assert_close(scaled(images()), plain((images() - 0.5) / 0.25))


@pytest.mark.parametrize("name", ["averaged", "averaged:0", "averaged:-1", "mean:2", "noisy"])
def test_unknown_views_list_the_choices(name: str) -> None:
    with pytest.raises(BadInput, match=rf"no noise view '{name}'; choose from mean, fresh, averaged:N"):
        view(model(), name)


def test_the_mean_view_of_a_foreign_model_is_a_plain_call() -> None:
    assert view(torch.nn.Flatten(), "mean")(images(), sample_draw(0, torch.arange(6))).shape == (6, math.prod(SHAPE))
