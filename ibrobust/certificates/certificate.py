"""Radii within which no L∞ perturbation can change a piecewise-linear network's prediction.

A lower bound on every attack's answer: [certified, attacked] holds the true radius, and an attack that succeeds
at a certified radius is a bug, in the attack or here. A model gets a certificate for what it computes, which is
recorded from its operations (`tracing`), or none.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from ibrobust.attacks.norms import BALL_TOLERANCE
from ibrobust.certificates.branching import margins_proven
from ibrobust.certificates.cut_pooling import with_pooling_cut
from ibrobust.certificates.effort import Budget, Effort
from ibrobust.certificates.linear_bounds import Network, logit_interval, lower_bounds
from ibrobust.certificates.operations.network import traced_network
from ibrobust.certificates.steps import same_networks
from ibrobust.certificates.tracing import trace
from ibrobust.errors import BadInput
from ibrobust.images import as_images, frozen
from ibrobust.models.answers import logits_in
from ibrobust.robustness.radii import Radii, parse_radii
from ibrobust.robustness.samples import Arrays, usable_samples
from ibrobust.robustness.search import bisect
from ibrobust.types import Images, Labels, PerSample

_CALLS = ((2, False), (3, False), (16, False), (2, True))
"""Batch sizes, and whether a gradient is wanted, for which a model must compute the same."""

_TOLERANCE = BALL_TOLERANCE + 2.0**-23
"""How far beyond its radius an attack's image may lie, with the rounding of that check."""

_SCORE_ROUNDING = 2.0**-23
"""Scores are float32: logits of float64 that differ by less than this share of their size may be equal there."""


def certified_eps_N(
    model: nn.Module,
    x: Arrays,
    y: Arrays,
    radii: Radii,
    *,
    effort: Effort | None = None,
    attacked: Arrays | None = None,
    batch_size: int = 4,
) -> NDArray[np.float32]:
    """Per sample the largest of the radii at which no L∞ perturbation inside [0, 1] changes the prediction from y.

    0 where none is certified, so that a sample's smallest breaking radius is above its certified radius unless the
    clean prediction is already wrong, when both are 0. The mean path is certified: latent noise is off. Bounds are
    computed in float64 on a ball widened by the tolerance that attacks are checked with, and hold for the model's
    float32 arithmetic, whatever the order of its sums.

    Args:
        model: any module that computes its logits with the operations of `certificates/operations`, among them
            linear and convolution layers, ReLU, max- and average-pooling, batch normalisation, sums, concatenation
            and reshaping, in any arrangement; taken as in evaluation.
        x, y: images and labels as `breaking_radii` takes them.
        radii: as in `breaking_radii`.
        effort: what a sample is worth beyond plain linear bounds, which come first: optimised slopes and branching. The
            same branches give the same radii, whatever the batch size; seconds do not.
        attacked: per sample the smallest radius at which an attack is known to succeed: effort is not spent from
            there on. Plain linear bounds do not look at it.
        batch_size: samples bounded together; changes speed and memory only.

    Raises:
        BadInput: the model does anything else, is not the same in every call, or answers otherwise than was recorded;
            images or labels are out of range.
    """
    some = certified_in_turn(model, x, y, radii, effort=effort, attacked=attacked, batch_size=batch_size)
    return np.concatenate([np.zeros(0, np.float32), *some])


def certified_in_turn(
    model: nn.Module,
    x: Arrays,
    y: Arrays,
    radii: Radii,
    *,
    effort: Effort | None = None,
    attacked: Arrays | None = None,
    batch_size: int = 4,
) -> Iterator[NDArray[np.float32]]:
    """What `certified_eps_N` returns, of some samples after the other: as soon as it is known.

    Raises:
        BadInput: as `certified_eps_N`, when the first samples are asked for.
    """
    positive = [radius for radius in parse_radii(radii) if radius > 0]
    x, y, _ = usable_samples(x, y)
    device = next((parameter.device for parameter in model.parameters()), x.device)
    network = piecewise_linear_network(model, x.shape[1:], device)
    _check_labels(y, _classes(network))
    cut = with_pooling_cut(network) if effort else network
    positive_radii = torch.tensor(positive, dtype=torch.float32, device=device)
    radii_by_index = np.array([0, *positive], np.float32)
    broken = torch.full((len(x),), torch.inf) if attacked is None else torch.as_tensor(attacked, dtype=torch.float32)
    for start in range(0, len(x), batch_size):
        rows = slice(start, start + batch_size)
        images = as_images(x[rows].to(device)).contiguous()
        _check_same_function(model, network, images)
        labels = y[rows].to(device)
        index = _certified_index(model, network, images, labels, positive_radii)
        if effort is None:
            yield radii_by_index[index.cpu().numpy()]
            continue
        limit = torch.searchsorted(positive_radii, broken[rows].to(device))
        for row in range(len(images)):
            where = images[row : row + 1], int(labels[row]), positive_radii
            raised = _raised(model, cut, where, (int(index[row]), int(limit[row])), Budget(effort))
            yield radii_by_index[[raised]]


def piecewise_linear_network(model: nn.Module, shape: Sequence[int], device: torch.device) -> Network:
    """What a model computes in evaluation from images of one shape, as steps with bounds. No image is needed.

    Raises:
        BadInput: it does anything that has no bounds, or not the same in every call.
    """
    name, dtype = type(model).__name__, _dtype(model)
    found: Network | None = None
    with frozen(model):
        for batch, gradient in _CALLS:
            like = torch.empty(batch, *shape, dtype=dtype, device=device)
            recorded = trace(model, like, gradient=gradient)
            answer, _ = recorded.of(recorded.answer)
            if len(answer) != 2 or answer[0] != batch or answer[1] < 2:
                raise BadInput(f"no certificate for {name}: it answers shape {answer} for {batch} images, no logits")
            network = traced_network(recorded, device, name)
            if found is not None and not same_networks(network, found):
                raise BadInput(
                    f"no certificate for {name}: it does not compute the same in every call; what it does depends on "
                    "the number of images, on whether a gradient is wanted, or on earlier calls"
                )
            found = network
    assert found is not None
    nothing = torch.zeros(1, *shape, dtype=torch.float64, device=device)
    logit_interval(found, nothing, nothing)  # Raises where a layer's shape is not that of the model's.
    return found


def certified_margins(network: Network, x: Images, y: Labels, eps: PerSample) -> Float[Tensor, "batch classes"]:
    """Lower bounds of logit y − logit j over the L∞ ball of each sample's radius, cut with [0, 1]; 0 at j = y.

    Monotone only up to the choice of each ReLU's lower line, which depends on the radius; the ball at a radius
    holds every smaller ball, so a positive bound certifies all smaller radii.
    """
    low, high = _ball(x, eps)
    unit = torch.eye(_classes(network), dtype=x.dtype, device=x.device)
    return lower_bounds(network, low, high, unit[y][:, None] - unit)


def _certified_index(
    model: nn.Module, network: Network, images: Images, y: Labels, radii: Float[Tensor, " radii"]
) -> Int[Tensor, " batch"]:
    """How many of the radii, from the smallest on, linear bounds certify for each sample."""
    x = images.to(torch.float64)
    in_float64 = _dtype(model) == torch.float64

    def not_certified(samples: Tensor, index: Tensor) -> Tensor:
        eps = radii[index].to(x.dtype) + _TOLERANCE
        margins = certified_margins(network, x[samples], y[samples], eps).scatter(1, y[samples][:, None], torch.inf)
        if not in_float64:
            return ~(margins.amin(1) > 0)
        low, high = logit_interval(network, *_ball(x[samples], eps))
        return ~(margins.amin(1) > _SCORE_ROUNDING * torch.maximum(low.abs(), high.abs()).amax(1))

    return bisect(not_certified, torch.full_like(y, len(radii)), torch.zeros_like(y))


def _raised(
    model: nn.Module,
    network: Network,
    where: tuple[Images, int, Float[Tensor, " radii"]],
    between: tuple[int, int],
    budget: Budget,
) -> int:
    """How many of the radii are certain once the budget is spent.

    Radii are tried upwards with growing strides. One whose failure would end the search may take all that is left, any
    other half of it.

    Args:
        where: one image, its label and the radii.
        between: how many radii are certain, and how many may be.
    """
    (image, label, radii), (certain, limit) = where, between
    dtype, stride = _dtype(model), 1
    rounding = 0.0 if dtype == torch.float64 else _SCORE_ROUNDING

    def mistakes(corners: Tensor) -> bool:
        with frozen(model), torch.no_grad():
            return bool((logits_in(model(corners.to(dtype)))[0].argmax(1) != label).any())

    while certain < limit and budget.left:
        probe = min(certain + stride, limit)
        share = budget if probe == certain + 1 else budget.half()
        ball = _ball(image.to(torch.float64), radii[probe - 1 : probe].to(torch.float64) + _TOLERANCE)
        if margins_proven(network, ball, label, rounding, share, mistakes):
            certain, stride = probe, 2 * stride
        else:
            limit, stride = probe - 1, max(1, stride // 2)
        budget.spent(share)
    return certain


def _ball(x: Images, eps: PerSample) -> tuple[Images, Images]:
    eps = eps.to(x.dtype).view(-1, 1, 1, 1)
    return (x - eps).clamp(min=0), (x + eps).clamp(max=1)


def _check_labels(y: Labels, classes: int) -> None:
    """Raises:
    BadInput: a label is none of the model's classes.
    """
    if not (int(y.min()) >= 0 and int(y.max()) < classes):
        raise BadInput(f"y holds labels {int(y.min())} to {int(y.max())}; the model has classes 0 to {classes - 1}")


def _check_same_function(model: nn.Module, network: Network, images: Images) -> None:
    """A check of the recording itself: each answer lies where rounding alone can take it."""
    with frozen(model), torch.no_grad():
        answer = logits_in(model(images.to(_dtype(model))))[0].double()
    x = images.double()
    low, high = logit_interval(network, x, x)
    if answer.shape != low.shape or not ((answer >= low) & (answer <= high)).all():
        raise BadInput(
            f"no certificate for {type(model).__name__}: it answers something other than what was recorded of it"
        )


def _classes(network: Network) -> int:
    shape = network[-1].shape
    assert shape is not None
    return shape[0]


def _dtype(model: nn.Module) -> torch.dtype:
    """The type of the model's weights.

    Raises:
        BadInput: bounds are for float32 and float64 alone.
    """
    numbers = [*model.parameters(), *model.buffers()]
    dtype = next((number.dtype for number in numbers if number.is_floating_point()), torch.float32)
    if dtype not in (torch.float32, torch.float64):
        kind = str(dtype).removeprefix("torch.")
        raise BadInput(f"no certificate for {type(model).__name__} in {kind}; choose from float32, float64")
    return dtype
