"""Anybody's model: looking at it before the first attack does."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ibrobust.errors import BadInput
from ibrobust.images import as_images, frozen
from ibrobust.python_files import said
from ibrobust.types import Images, Labels, Logits

_SAMPLES = 256
_BATCH = 64
_PROBABILITY_TOLERANCE = 1e-4
_NOISE_TOLERANCE = 1e-3
"""Relative difference between two passes: beyond what a GPU's order of summation makes, below what noise does."""

_OTHER_SCALES: dict[str, Callable[[Images], Images]] = {"0 … 255": lambda x: 255 * x, "−1 … 1": lambda x: 2 * x - 1}


@dataclass(frozen=True)
class Finding:
    """What is odd about a model, in one line; `refused` where no number measured on it would mean anything."""

    text: str
    refused: bool = False


def require_healthy(model: nn.Module, x: Tensor, y: Labels) -> list[str]:
    """The warnings of `health`.

    Raises:
        BadInput: with the first thing found that makes any number meaningless.
    """
    findings = health(model, x, y)
    for finding in findings:
        if finding.refused:
            raise BadInput(f"the model cannot be evaluated: {finding.text}")
    return [finding.text for finding in findings]


def health(model: nn.Module, x: Tensor, y: Labels) -> list[Finding]:
    """What is odd about a model on up to 256 samples spread over the data; empty where nothing is.

    Looks for: answers of the wrong kind, shape or number of classes, NaN, probabilities in place of logits, answers
    that differ between two passes or with the rest of the batch, gradients that are missing or exactly zero, and
    accuracy that is better on pixels of another range than [0, 1]. The model is in evaluation mode meanwhile.
    """
    rows = torch.linspace(0, len(x) - 1, min(_SAMPLES, len(x))).long()
    device = next((parameter.device for parameter in model.parameters()), x.device)
    x, y = as_images(x[rows]).to(device), y[rows].to(device)
    with frozen(model):
        refusal = _unusable(model, x, y)
        if refusal:
            return [Finding(refusal, refused=True)]
        logits = _logits(model, x)
        findings = [
            _probabilities(logits),
            _unsteady(model, x, logits),
            _mixes_samples(model, x, logits),
            _gradient(model, x, y),
            _pixel_range(model, x, y, logits),
        ]
    return [finding for finding in findings if finding]


def _unusable(model: nn.Module, x: Images, y: Labels) -> str | None:
    """Why the answer to the first batch is no logits, if so."""
    batch = x[:_BATCH]
    try:
        with torch.no_grad():
            answer = model(batch)
    except Exception as error:
        return f"it raised {said(error)} on images of shape {tuple(batch.shape)}"
    if not isinstance(answer, Tensor):
        return f"it returned {_kind(answer)}, not a tensor of logits"
    if (wrong_shape := _wrong_shape(answer, batch, int(y.max()))) is not None:
        return wrong_shape
    logits = _logits(model, x)
    if not logits.isfinite().all():
        return f"its logits are NaN or infinite on {int((~logits.isfinite().all(1)).sum())} of {len(x)} samples"
    return None


def _wrong_shape(answer: Tensor, batch: Images, largest_label: int) -> str | None:
    if answer.ndim != 2 or len(answer) != len(batch) or answer.shape[1] < 2:
        expected = f"({len(batch)}, classes)"
        return (
            f"it returned shape {tuple(answer.shape)} for images of shape {tuple(batch.shape)}; logits are {expected}"
        )
    if not answer.is_floating_point():
        return f"it returned {answer.dtype}, not floating-point logits"
    if answer.shape[1] <= largest_label:
        return f"it knows {answer.shape[1]} classes, but the data has label {largest_label}"
    return None


def _probabilities(logits: Logits) -> Finding | None:
    """A softmax at the end squashes the cross-entropy's gradient and every margin: the model looks too robust."""
    sums_to_one = ((logits.sum(1) - 1).abs() < _PROBABILITY_TOLERANCE).all()
    if not (sums_to_one and (logits >= 0).all()):
        return None
    return Finding("it returns probabilities (each row sums to 1); return the logits, from before the softmax", True)


def _unsteady(model: nn.Module, x: Images, logits: Logits) -> Finding | None:
    again = _logits(model, x)
    if _relative_difference(again, logits) <= _NOISE_TOLERANCE:
        return None
    flipped = float((again.argmax(1) != logits.argmax(1)).float().mean())
    return Finding(
        f"it answers differently when asked twice: {flipped:.1%} of the predictions change; with --noise mean "
        "one pass decides whether an attack worked, and its noise alone breaks samples; --noise fresh scores it right"
    )


def _mixes_samples(model: nn.Module, x: Images, logits: Logits) -> Finding | None:
    """Statistics of the batch, used in evaluation: a verdict on one sample would hang on the others."""
    few = min(len(x), 8)
    if few == len(x) or _relative_difference(_logits(model, x[:few]), logits[:few]) <= _NOISE_TOLERANCE:
        return None
    if _relative_difference(_logits(model, x), logits) > _NOISE_TOLERANCE:
        return None  # It differs from itself, which is another finding.
    return Finding("a sample's logits depend on the other samples in its batch, in evaluation mode too")


def _gradient(model: nn.Module, x: Images, y: Labels) -> Finding | None:
    zero = 0
    for start in range(0, len(x), _BATCH):
        batch = x[start : start + _BATCH].clone().requires_grad_()
        with torch.enable_grad():
            loss = F.cross_entropy(model(batch), y[start : start + _BATCH], reduction="sum")
        (gradient,) = torch.autograd.grad(loss, batch, allow_unused=True) if loss.requires_grad else (None,)
        if gradient is None:
            return Finding(
                "no gradient reaches its pixels, so gradient attacks would find it robust whatever it is", True
            )
        if not gradient.isfinite().all():
            return Finding("the gradient of its cross-entropy is NaN or infinite, so gradient attacks cannot run", True)
        zero += int((gradient.flatten(1) == 0).all(1).sum())
    if zero == 0:
        return None
    return Finding(
        f"the gradient of its cross-entropy is exactly zero on {zero / len(x):.1%} of the samples: FGSM, BIM and PGD "
        "fail there for that reason alone; trust DeepFool and the protocol 'strict'"
    )


def _pixel_range(model: nn.Module, x: Images, y: Labels, logits: Logits) -> Finding | None:
    """Accuracy where it should be, and not better on pixels in another range."""
    accuracy = _accuracy(logits, y)
    most_frequent = int(torch.bincount(y).max())
    chance = max(1 / logits.shape[1], most_frequent / len(y))
    spread = 3 * (0.25 / len(y)) ** 0.5
    elsewhere = {scale: _accuracy(_logits(model, scaled(x)), y) for scale, scaled in _OTHER_SCALES.items()}
    best = max(elsewhere, key=lambda scale: elsewhere[scale])
    at_chance = accuracy <= chance + spread
    if elsewhere[best] > accuracy + spread:
        return Finding(
            f"it is right on {accuracy:.1%} of the clean samples, but on {elsewhere[best]:.1%} when their pixels are "
            f"in {best}; it has to take pixels in [0, 1] and scale them inside",
            refused=at_chance,
        )
    if at_chance and chance < 1 - spread:
        return Finding(
            f"it is right on {accuracy:.1%} of the clean samples, which is chance ({chance:.1%}): does it take pixels "
            "in [0, 1], normalise inside, and number the classes as the data does?"
        )
    return None


def _logits(model: nn.Module, x: Images) -> Logits:
    with torch.no_grad():
        return torch.cat([model(x[start : start + _BATCH]) for start in range(0, len(x), _BATCH)])


def _accuracy(logits: Logits, y: Labels) -> float:
    return float((logits.argmax(1) == y).float().mean())


def _relative_difference(a: Logits, b: Logits) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))


def _kind(value: object) -> str:
    return "None" if value is None else f"an object of type {type(value).__name__}"
