"""The positive control: would the attack find an adversarial example that is certainly there?

The binarisation test of Zimmermann et al. 2022: a new linear layer on the model's logits separates points inside the
ball from one point on its surface. That point is an adversarial example for the new two-class model; an attack that
does not find it, or another, says nothing by failing on the model itself.
"""

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from ibrobust.attacks import ATTACKS, victim
from ibrobust.attacks.contract import Samples, broken_at
from ibrobust.checks.claimed import Indices
from ibrobust.checks.interface import Case, Finding
from ibrobust.checks.stand_ins import stand_ins_for
from ibrobust.models.bottleneck import View
from ibrobust.randomness import Draw, Noise
from ibrobust.types import Images, Logits

_SAMPLES, _FEWEST = 50, 10
_INNER, _SURFACE = 100, 10
"""Points in the ball of half the radius, and on the surface; the new layer cuts off the surface point that stands out
most."""
_FOUND = 0.95
"""Share that the test's authors ask of an attack."""


@dataclass(frozen=True)
class _Numbered(Draw):
    """A draw that also says which sample's new layer is meant."""

    index: Tensor

    def __getitem__(self, kept: Tensor | slice) -> "_Numbered":
        return _Numbered(self.keys[kept], self.index[kept])

    def fold(self, name: "str | int | Tensor") -> "_Numbered":
        return _Numbered(super().fold(name).keys, self.index)


def planted(case: Case) -> Finding | None:
    """The share of planted adversarial examples that PGD misses and the audit's own attacks do not find either. Where
    no gradient is asked for, Square stands for PGD."""
    finder, title = ("pgd", "PGD") if case.claimed.gradients else ("square", "Square")
    chosen, plain = case.claimed.correct[:_SAMPLES], case.attacks.repeatable_view
    if len(chosen) < _FEWEST or plain is None:
        return None
    inner, surface = _points(case, chosen)
    weight, centre = _new_layers(_logits(case, chosen, inner), _logits(case, chosen, surface))
    there = weight.isfinite().all(1)
    if there.sum() < _FEWEST:
        return None
    rows = there.nonzero().squeeze(1)

    def classify(x: Images, noise: Noise) -> Logits:
        index = cast(_Numbered, noise).index
        score = (weight[index] * (plain(x, noise) - centre[index])).sum(1) - 10
        return torch.stack([torch.zeros_like(score), score], dim=1)

    draw = case.attacks.draw(chosen[rows], "planted")
    seen = victim(View(classify, "planted", 1), _Numbered(draw.keys, rows), batch_size=64)
    samples = Samples(seen, case.x[chosen[rows]], torch.zeros_like(rows), chosen[rows], draw)
    eps = torch.full((len(rows),), case.radius, device=case.x.device)
    found = broken_at(finder, ATTACKS[finder], samples, eps, case.claimed.norm)[0]
    by_finder = float(found.float().mean())
    for name, attack in stand_ins_for(case).items():
        left = (~found).nonzero().squeeze(1)
        if len(left):
            found[left] = broken_at(name, attack, samples[left], eps[left], case.claimed.norm)[0]
    value = 1 - float(found.float().mean())
    sentence = f"of {len(rows)} adversarial examples planted in the model's logits {title} misses {1 - by_finder:.1%}"
    sentence += f", and the audit's other attacks leave {value:.1%}"
    return Finding(value, case.allowed(1 - _FOUND, of=len(rows)), "masked", sentence, kind="control")


def _points(case: Case, chosen: Indices) -> tuple[Tensor, Tensor]:
    """(samples, points, …) inside the ball and on its surface."""
    x = case.x[chosen]
    inner, surface = [], []
    for index in range(_INNER):
        half = torch.full((len(chosen),), case.radius / 2, device=x.device)
        inner.append(case.claimed.norm.start(x, half, case.attacks.draw(chosen, f"inner {index}")))
    for index in range(_SURFACE):
        away = case.attacks.draw(chosen, f"surface {index}").normal(*x.shape[1:])
        surface.append(
            case.claimed.norm.project(x + 1e3 * away, x, torch.full((len(chosen),), case.radius, device=x.device))
        )
    return torch.stack([x, *inner], 1), torch.stack(surface, 1)


def _logits(case: Case, chosen: Indices, points: Tensor) -> Float[Tensor, "some points classes"]:
    per_point = [
        case.attacks.victim(chosen, "points", seen=case.attacks.repeatable_view).logits(points[:, index])
        for index in range(points.shape[1])
    ]
    return torch.stack(per_point, 1)


def _new_layers(inner: Tensor, surface: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and centre per sample: score −10 at the inner points' mean, 0 nine tenths of the way from the last inner
    point to the surface point, in the direction of Fisher's discriminant; NaN where no surface point stands out."""
    inner, surface = inner.double(), surface.double()
    mean = inner.mean(1, keepdim=True)
    centred = inner - mean
    spread = centred.transpose(1, 2) @ centred / inner.shape[1]
    size = spread.diagonal(dim1=1, dim2=2).mean(1)
    spread = spread + (1e-3 * size + 1e-300)[:, None, None] * torch.eye(spread.shape[1]).to(spread)
    direction = torch.linalg.solve(spread, (surface - mean).transpose(1, 2))
    heights = torch.einsum("npc,nck->nkp", centred, direction).amax(2)
    tops = torch.einsum("nkc,nck->nk", surface - mean, direction)
    best = (heights / tops).nan_to_num(torch.inf).argmin(1)
    row = torch.arange(len(best), device=best.device)
    weight, height, top = direction[row, :, best], heights[row, best], tops[row, best]
    cut = height + 0.9 * (top - height)
    scale = torch.where((top > height) & (cut > 0), 10 / cut, torch.nan)
    return (weight * scale[:, None]).float(), mean.squeeze(1).float()
