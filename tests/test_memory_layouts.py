"""A result does not depend on how the images lie in memory."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ibrobust import noisy_readings
from ibrobust.attacks import ATTACKS, NORMS, Attempt, victim
from ibrobust.certificates.certificate import certified_eps_N
from ibrobust.entropies.quantities import encoded
from ibrobust.images import as_images, frozen
from ibrobust.models.bottleneck import Bottleneck, view
from ibrobust.models.noise import LatentNoise
from ibrobust.randomness import sample_draw
from ibrobust.robustness.breaking_radii import breaking_radii
from tests.test_attack_faults import EVERY_NORM, QUICK

FEW = {"queries": 30, "steps": 4, "generations": 1, "targets": 2, "walks": 1}
BRIEF = {
    name: replace(attack, settings=attack.settings | {word: FEW[word] for word in FEW.keys() & attack.settings})
    for name, attack in QUICK.items()
}
"""The first steps of each attack: each of them asks for the images in every way that a later one does."""


def layouts(x: Tensor) -> dict[str, Tensor]:
    """The same images, otherwise arranged in memory."""
    wider = torch.cat([x, 1 - x], dim=3)
    return {
        "transposed": x.transpose(2, 3).contiguous().transpose(2, 3),
        "fortran": x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
        "sliced": wider[:, :, :, : x.shape[3]],
        "every other": torch.stack([x, 1 - x], dim=1).flatten(0, 1)[::2],
        "channels last": x.contiguous(memory_format=torch.channels_last),
    }


def colour_problem() -> tuple[nn.Module, Tensor, Tensor]:
    """A small convolutional network on 12 colour images of 6 × 6 pixels that it classifies correctly."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    x = torch.rand(12, 3, 6, 6, generator=generator)
    with torch.no_grad():
        return model, x, model(x).argmax(1)


@EVERY_NORM
@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_an_attack_makes_the_same_images_whatever_the_memory_layout(attack: str, norm: str) -> None:
    if (attack, norm) == ("decision", "l1"):
        pytest.skip("it is for linf and l2")
    model, x, y = colour_problem()
    draw = sample_draw(0, torch.arange(len(x)))
    quick = BRIEF[attack]
    radius = torch.inf if quick.minimal else {"linf": 0.02, "l2": 0.2}.get(norm, 0.6)

    def made_of(images: Tensor) -> Tensor:
        asked = victim(view(model), draw, batch_size=64)
        return quick.images(Attempt(asked, images, y, torch.full((len(x),), radius), draw, NORMS[norm]))

    with frozen(model):
        plain = made_of(x)
        assert not torch.equal(plain, x)
        for name, images in layouts(x).items():
            assert torch.equal(made_of(images), plain), name
        expanded = x[:1].expand(len(x), -1, -1, -1)
        assert torch.equal(made_of(expanded), made_of(expanded.contiguous()))


@EVERY_NORM
def test_breaking_radii_do_not_depend_on_the_memory_layout(norm: str) -> None:
    model, x, y = colour_problem()
    eps = {"linf": [0.01, 0.03], "l2": [0.1, 0.3]}.get(norm, [0.4, 0.8])
    quick = {name: BRIEF[name] for name in ("fgsm", "deepfool", "pgd", "square")}
    plain = breaking_radii(model, x, y, eps=eps, norm=norm, attacks=quick)
    for name, images in layouts(x).items():
        assert breaking_radii(model, images, y, eps=eps, norm=norm, attacks=quick).rows.equals(plain.rows), name


def test_images_lie_row_by_row_from_the_entrance_on() -> None:
    x = torch.rand(4, 3, 6, 6)
    for each in (x, (x * 255).to(torch.uint8), x.double()):
        for name, images in layouts(each).items():
            assert as_images(images).is_contiguous(), name
            assert torch.equal(as_images(images), as_images(each)), name


def test_readings_encodings_and_certificates_do_not_depend_on_the_memory_layout(few_draws) -> None:
    _, x, y = colour_problem()
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4))
    pixel = {"pixel_mean": torch.zeros(3), "pixel_std": torch.ones(3)}
    model = Bottleneck(encoder, nn.Linear(4, 5), noise=LatentNoise(0.1), **pixel)
    attacks = {name: ATTACKS[name] for name in ("fgsm", "deepfool")}

    def answers(images: Tensor) -> list[object]:
        readings = noisy_readings(model, images, y, eps=[0.05], attacks=attacks)
        certified = certified_eps_N(model, images, y, [0.001, 0.01])
        return [readings.rows.to_csv(), encoded(model, images).z.tolist(), [*map(float, certified)]]

    plain = answers(x)
    for name in ("fortran", "channels last"):
        assert answers(layouts(x)[name]) == plain, name
