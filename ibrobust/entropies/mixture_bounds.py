"""Bounds of information from the encoder's own mixture and from one that is fitted to other inputs, nats.

I[X;Z] = E ln p(z|x) / p(z), and p(z|x) is known. For p(z) there are two stand-ins: m(z), the average of p(z|x_j) over
other inputs, right in expectation but blind to what lies between them, and a mixture of Gaussians q(z). With the
density α m + (1 − α) q in place of p(z) the average is an upper bound; the lower bound is the interpolated one of Poole
et al. (2019), between their multi-sample bounds (α = 1, at most the log of the inputs) and that of Nguyen, Wainwright
and Jordan (α = 0). q is fitted to inputs that neither the averages nor m are taken over.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ibrobust.entropies.bounds import ERRORS, NO_UPPER, NOTHING, Bound, SampleLabels
from ibrobust.entropies.gaussian_mixture import Means, MixtureLaw, fitted_mixture
from ibrobust.models.bottleneck import Encoding
from ibrobust.models.noise import LatentNoise

ALPHAS = (1.0, 0.5, 0.1, 0.03, 0.01, 0.003, 0.0)
_FEWEST = 8
_COMPONENTS = (1, 4, 16, 64)
_MOST_COMPONENTS = 160
_FITTED_TO = 20_000
"""Inputs that a mixture is fitted to: more change little."""
_UNSEEN = 4.8
"""What n draws never showed has a probability below 4.8 / n, but for a chance of 0.8 %, as `ERRORS`."""
_PAIRS = 2**22
"""Pairs of a sample and an input looked at together; it changes memory, not the answer."""

Terms = Float[Tensor, " samples"]


class Labelled(NamedTuple):
    """Encoded inputs with their labels."""

    encoding: Encoding
    y: SampleLabels

    def rows(self, kept: Tensor | slice) -> "Labelled":
        return Labelled(Encoding(*(tensor[kept] for tensor in self.encoding)), self.y[kept])

    def with_more(self, more: "Labelled | None") -> "Labelled":
        if more is None:
            return self
        both = zip(self.encoding, more.encoding, strict=True)
        return Labelled(Encoding(*(torch.cat(pair) for pair in both)), torch.cat([self.y, more.y]))


class InformationBounds(NamedTuple):
    """(lower, upper) bound of I[X;Z] and of I[X;Z|Y], and a mixture of Gaussians that is like the latent."""

    preserved: tuple[Bound, Bound] = (NOTHING, NO_UPPER)
    redundant: tuple[Bound, Bound] = (NOTHING, NO_UPPER)
    law: MixtureLaw | None = None


class _Fold(NamedTuple):
    """A mixture, the samples at which it is evaluated, and the inputs that it was not fitted to."""

    law: MixtureLaw
    samples: Tensor
    beside: Bool[Tensor, " inputs"]


def information_bounds(
    samples: Labelled, noise: LatentNoise, more: Labelled | None = None, *, seed: int = 0
) -> InformationBounds:
    """Both informations between bounds that hold in expectation whatever the law of the inputs, each with the standard
    error of what was drawn.

    Where there are at least twice as many further inputs as samples, q is fitted to half of those; where there are
    fewer, one to each half of all inputs, which answers for the samples of the other half.

    Args:
        samples: latent samples of inputs; the bounds are averages over them.
        noise: whose law p(z|x) has; its density is known.
        more: further inputs from where the samples are from.
    """
    if len(samples.y) < _FEWEST:
        return InformationBounds()
    whole = samples.with_more(more)
    preserved, redundant = (_Averages(len(samples.y), len(whole.y), whole.y.device) for _ in range(2))
    folds = _folds(samples, whole, seed)
    for fold in folds:
        _add_fold(fold, whole, noise, preserved, redundant)
    return InformationBounds(preserved.bounds(), redundant.bounds(), folds[-1].law)


def _folds(samples: Labelled, whole: Labelled, seed: int) -> list[_Fold]:
    count = len(samples.y)
    indices = torch.arange(len(whole.y), device=whole.y.device)
    odd = _place_in_class(whole.y) % 2 == 1
    if len(whole.y) >= 3 * count:
        fitted = odd & (indices >= count)
        return [_Fold(_chosen_mixture(whole.rows(fitted), seed), indices[:count], ~fitted)]
    halves = (odd, ~odd)
    return [_Fold(_chosen_mixture(whole.rows(half), seed), indices[:count][~half[:count]], ~half) for half in halves]


def _place_in_class(y: SampleLabels) -> SampleLabels:
    """How many of the same class come before each sample."""
    place = torch.zeros_like(y)
    for label in torch.bincount(y).nonzero().flatten():
        members = y == label
        place[members] = torch.arange(int(members.sum()), device=y.device)
    return place


def _chosen_mixture(fitted_to: Labelled, seed: int) -> MixtureLaw:
    """The mixture whose number of components gives a held-out quarter the largest density, fitted to all inputs."""
    some = fitted_to.rows(slice(_FITTED_TO))
    means = Means(some.encoding.mean, some.encoding.std.square(), some.y)
    held_out = _place_in_class(some.y) % 4 == 3
    classes = int((torch.bincount(some.y) > 0).sum())
    best, chosen = -math.inf, 1
    for number in _COMPONENTS if bool(held_out.any()) else ():
        if number > 1 and number * classes > _MOST_COMPONENTS:
            break
        tried = fitted_mixture(means.rows(~held_out), number, seed=seed)
        score = float(tried.log_density(some.encoding.z[held_out]).mean())
        if not score > best:
            break
        best, chosen = score, number
    return fitted_mixture(means, chosen, seed=seed)


def _add_fold(fold: _Fold, whole: Labelled, noise: LatentNoise, preserved: "_Averages", redundant: "_Averages") -> None:
    others = whole.rows(fold.beside)
    counts = torch.bincount(others.y, minlength=int(whole.y.max()) + 1).double()
    place_of = fold.beside.cumsum(dim=0) - 1
    for rows in torch.split(fold.samples, max(1, _PAIRS // len(others.y))):
        (mean, std, z), y = (tensor[rows].double() for tensor in whole.encoding), whole.y[rows]
        own = _own_log_density(z, mean, std, noise)
        log_density = noise.log_densities(z, others.encoding.mean, others.encoding.std)
        own_place = torch.arange(len(rows), device=rows.device), place_of[rows]
        log_density += (own - log_density[own_place])[:, None]  # the constant that log_densities leaves out
        log_density[own_place] = -math.inf
        preserved.add(rows, _Known(own, fold.law.log_density(z), counts.sum() - 1), log_density, fold.beside)
        log_density.masked_fill_(y[:, None] != others.y, -math.inf)
        log_q = fold.law.log_density_given_class(z, y)
        redundant.add(rows, _Known(own, log_q, counts[y] - 1), log_density, fold.beside)


def _own_log_density(z: Tensor, mean: Tensor, std: Tensor, noise: LatentNoise) -> Terms:
    """ln p(z_i|x_i)."""
    assert noise.law.log_density is not None
    return noise.law.log_density((z - mean) / std).sum(dim=1) - std.log().sum(dim=1)


class _Known(NamedTuple):
    """ln p(z_i|x_i), ln q(z_i), and how many other inputs there are."""

    own: Terms
    log_q: Terms
    others: Tensor


class _Averages:
    """For each α the terms of both bounds, and how far each input moves them as one of the others.

    An input takes part with its own term and with its share of the others' m: the sum of both is its influence, whose
    spread is the standard error (Hájek's projection).
    """

    def __init__(self, samples: int, inputs: int, device: torch.device) -> None:
        self._samples = samples
        self._terms = torch.zeros(2 * len(ALPHAS), samples, dtype=torch.float64, device=device)
        self._moved = torch.zeros(2 * len(ALPHAS), inputs, dtype=torch.float64, device=device)

    def add(
        self, rows: Tensor, known: "_Known", log_density: Float[Tensor, "rows others"], beside: Bool[Tensor, " inputs"]
    ) -> None:
        """The terms of some samples; `beside` says which inputs are the others, −∞ which of those are left out."""
        log_sum = log_density.logsumexp(dim=1)
        shares = (log_density - log_sum.clamp(min=-1e300)[:, None]).exp_()
        terms, weights = zip(*(pair for alpha in ALPHAS for pair in _terms(alpha, known, log_sum)), strict=True)
        self._terms[:, rows] = torch.stack(terms)
        self._moved[:, beside] += torch.stack(weights) @ shares

    def bounds(self) -> tuple[Bound, Bound]:
        """The best lower and the best upper bound of all α."""
        lower, upper = ([self._bound(place, side) for place in range(len(ALPHAS))] for side in (0, 1))
        return max(lower, key=lambda bound: bound.lower), min(upper, key=lambda bound: bound.upper)

    def _bound(self, place: int, side: int) -> Bound:
        alpha = ALPHAS[place]
        terms, moved = self._terms[2 * place + side], self._moved[2 * place + side]
        if side == 0 and alpha == 0:  # nothing is known of what no draw has shown
            return NOTHING
        if not bool(terms.isfinite().all()):
            return NO_UPPER if side else NOTHING
        mean = terms.mean()
        influence = moved - moved.mean()
        influence[: self._samples] += terms - mean
        error = float(influence.square().sum().sqrt()) / self._samples
        # The lower bound takes off an average of numbers up to 1/α, the largest of which no draw may have shown.
        unseen = _UNSEEN / (alpha * self._samples) if side == 0 and alpha < 1 else 0.0
        return Bound(float(mean), error + unseen / ERRORS)


def _terms(alpha: float, known: _Known, log_sum: Terms) -> tuple[tuple[Terms, Terms], ...]:
    """Terms of the lower and of the upper bound, each with what moves it in proportion to m."""
    own, log_q, count = known
    log_m, with_own = log_sum - count.log(), torch.logaddexp(own, log_sum)
    if alpha == 1:
        lower = own - with_own + (count + 1).log()
        return (lower, -(log_sum - with_own).exp()), (own - log_m, -torch.ones_like(own))
    log_alpha, log_rest = math.log(alpha) if alpha else -math.inf, math.log1p(-alpha) + log_q
    mixed = torch.logaddexp(log_alpha + log_m, log_rest)
    # One of the others more than it has is counted as its own: the bound is the lower for it.
    mixed_own = torch.logaddexp(log_alpha + with_own - count.log(), log_rest)
    lower = own - mixed_own + 1 - (log_m - mixed).exp()
    moved = -(log_alpha + log_m - mixed_own).exp() - (log_rest + log_m - 2 * mixed).exp()
    return (lower, moved), (own - mixed, -(log_alpha + log_m - mixed).exp())
