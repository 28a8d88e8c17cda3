"""What can be odd about a model, looked for on a few samples before the first attack."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ibrobust.errors import ran_out_of_memory
from ibrobust.models.answers import described, logits_in
from ibrobust.models.calls import asked_as_it_is, callers_default_type
from ibrobust.python_files import said
from ibrobust.types import Images, Labels, Logits

_PROBABILITY_TOLERANCE = 1e-4
_NOISE_TOLERANCE = 1e-3
"""Relative difference between two passes: beyond what a GPU's order of summation makes, below what noise does."""

_OTHER_SCALES: dict[str, Callable[[Images], Images]] = {"0 … 255": lambda x: 255 * x, "−1 … 1": lambda x: 2 * x - 1}


@dataclass(frozen=True)
class Finding:
    """What is odd about a model, in one line; `refused` where no number measured on it would mean anything."""

    text: str
    refused: bool = False


@dataclass(frozen=True)
class Patient:
    """A model and the samples that it is looked at on.

    Attributes:
        ask: images → whatever the model answers; with its noise off where it is of this package.
    """

    model: nn.Module
    x: Images
    y: Labels
    batch: int
    ask: Callable[[Images], Any] = field(repr=False)

    def logits(self, x: Images) -> Logits:
        """Logits in batches, without gradients."""
        with torch.no_grad():
            return torch.cat([self.ask(x[start : start + self.batch]) for start in range(0, len(x), self.batch)])


def found_in(patient: Patient, *, noisy: bool, gradients: bool, unusable: bool) -> list[Finding]:
    """Everything odd about a patient.

    Args:
        noisy: it is scored under its noise, so that two answers may differ.
        gradients: its gradient is looked at.
        unusable: an answer that holds no usable logits is a finding; otherwise it is left to those who attack it.
    """
    logits = _usable_logits(patient)
    if isinstance(logits, str):
        return [Finding(logits, refused=True)] if unusable else []
    unsteady = _unsteady(patient, logits)
    found = [
        _holds_logits(patient),
        _probabilities(logits),
        _writes(patient) if gradients else None,
        None if noisy else unsteady,
        _mixes_samples(patient, logits),
        _gradient(patient) if gradients else None,
        _pixel_range(patient, logits, steady=unsteady is None),
    ]
    return [finding for finding in found if finding]


def _usable_logits(patient: Patient) -> Logits | str:
    """The logits of all samples, or why the answer is none."""
    batch = patient.x[: patient.batch]
    try:
        with torch.no_grad():
            answer = patient.ask(batch)
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        return f"it raised {said(error)} on images of shape {tuple(batch.shape)}"
    if not isinstance(answer, Tensor):
        return f"it returned {described(answer)}, not a tensor of logits"
    if (lowest := int(patient.y.min())) < 0:
        return f"the data has label {lowest}"
    if (wrong_shape := _wrong_shape(answer, batch, int(patient.y.max()))) is not None:
        return wrong_shape
    logits = patient.logits(patient.x)
    finite = logits.isfinite().all(1)
    if not finite.all():
        return f"its logits are NaN or infinite on {int((~finite).sum())} of {len(finite)} samples"
    return logits


def _wrong_shape(answer: Tensor, batch: Images, largest_label: int) -> str | None:
    if answer.ndim != 2 or len(answer) != len(batch) or answer.shape[1] < 2:
        shapes = f"shape {tuple(answer.shape)} for images of shape {tuple(batch.shape)}"
        return f"it returned {shapes}; logits are ({len(batch)}, classes)"
    if not answer.is_floating_point():
        return f"it returned {answer.dtype}, not floating-point logits"
    if answer.shape[1] <= largest_label:
        return f"it knows {answer.shape[1]} classes, but the data has label {largest_label}"
    return None


def _holds_logits(patient: Patient) -> Finding | None:
    """Which part of the answer is taken, where it is not a tensor."""
    try:
        with torch.no_grad():
            answer = asked_as_it_is(patient.model)(patient.x[:1])
    except Exception:
        return None  # It takes no batch of one.
    how = logits_in(answer)[1]
    return Finding(how) if how else None


def _probabilities(logits: Logits) -> Finding | None:
    """A softmax at the end squashes the cross-entropy's gradient and every margin: the model looks too robust."""
    sums_to_one = ((logits.sum(1) - 1).abs() < _PROBABILITY_TOLERANCE).all()
    if not (sums_to_one and (logits >= 0).all()):
        return None
    return Finding("it returns probabilities (each row sums to 1); return the logits, from before the softmax", True)


def _writes(patient: Patient) -> Finding | None:
    """What is written into the images where autograd does not see it is missing in the gradient."""
    dtype = next((parameter.dtype for parameter in patient.model.parameters() if parameter.is_floating_point()), None)
    with torch.enable_grad():
        images = patient.x[:1].to(dtype or torch.float32).requires_grad_() * 1
        before, history = images.detach().clone(), images.grad_fn
        try:
            with callers_default_type():
                patient.model(images)
        except Exception:
            return None  # It was asked in another type, or notices gradients: looked at elsewhere.
        if torch.equal(images.detach(), before) or images.grad_fn is not history:
            return None
    return Finding(
        "it writes into its input in place, unseen by autograd (under no_grad or through .data): it is given copies, "
        "but its gradients lack what is done there"
    )


def _unsteady(patient: Patient, logits: Logits) -> Finding | None:
    again = patient.logits(patient.x)
    if _relative_difference(again, logits) <= _NOISE_TOLERANCE:
        return None
    flipped = float((again.argmax(1) != logits.argmax(1)).float().mean())
    return Finding(
        f"it answers differently when asked twice: {flipped:.1%} of the predictions change; with its noise taken as "
        "'mean' one pass decides whether an attack worked, and noise alone breaks samples; 'fresh' scores it right"
    )


def _mixes_samples(patient: Patient, logits: Logits) -> Finding | None:
    """Statistics of the batch, used in evaluation: a verdict on one sample would depend on the others."""
    few = min(len(logits), 8)
    some = patient.logits(patient.x[:few])
    if few == len(logits) or _relative_difference(some, logits[:few]) <= _NOISE_TOLERANCE:
        return None
    if _relative_difference(patient.logits(patient.x[: patient.batch]), logits[: patient.batch]) > _NOISE_TOLERANCE:
        return None  # It differs from itself, which is another finding.
    return Finding("a sample's logits depend on the other samples in its batch, in evaluation mode too")


def _gradient(patient: Patient) -> Finding | None:
    # Some that are not finite are told of by the evaluation, which names the samples.
    zero, not_finite, count = 0, 0, len(patient.x)
    for start in range(0, count, patient.batch):
        try:
            gradient = _cross_entropy_gradient(patient, slice(start, start + patient.batch))
        except Exception as error:
            if ran_out_of_memory(error):
                raise
            return Finding(f"it raised when its gradient was asked for: {said(error)}", True)
        if gradient is None:
            text = (
                "no gradient reaches its pixels, so gradient attacks would find it robust whatever it is (protocol "
                "'black-box' needs no gradients)"
            )
            return Finding(text, refused=True)
        not_finite += int((~gradient.flatten(1).isfinite()).any(1).sum())
        zero += int((gradient.flatten(1) == 0).all(1).sum())
    if not_finite == count:
        return Finding("the gradient of its cross-entropy is NaN or infinite, so gradient attacks cannot run", True)
    if zero:
        return Finding(
            f"the gradient of its cross-entropy is exactly zero on {zero / count:.1%} of the samples: FGSM, BIM and "
            "PGD fail there for that reason alone; trust DeepFool and the protocol 'strict'"
        )
    return None


def _cross_entropy_gradient(patient: Patient, rows: slice) -> Images | None:
    batch = patient.x[rows].clone().requires_grad_()
    with torch.enable_grad():
        loss = F.cross_entropy(patient.ask(batch), patient.y[rows], reduction="sum")
    if not loss.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(loss, batch, allow_unused=True)
    return gradient


def _pixel_range(patient: Patient, logits: Logits, *, steady: bool) -> Finding | None:
    """Accuracy where it should be, and not better on pixels in another range, which drown noise."""
    y = patient.y
    accuracy = _accuracy(logits, y)
    most_frequent = int(torch.bincount(y).max())
    chance = max(1 / logits.shape[1], most_frequent / len(y))
    spread = 3 * (0.25 / len(y)) ** 0.5
    elsewhere = {scale: _accuracy(patient.logits(scaled(patient.x)), y) for scale, scaled in _OTHER_SCALES.items()}
    best = max(elsewhere, key=lambda scale: elsewhere[scale])
    at_chance = accuracy <= chance + spread
    if elsewhere[best] > max(accuracy, chance) + spread:
        return Finding(
            f"it is right on {accuracy:.1%} of the clean samples, but on {elsewhere[best]:.1%} when their pixels are "
            f"in {best}; it has to take pixels in [0, 1] and scale them inside",
            refused=at_chance and steady,
        )
    if at_chance and chance < 1 - spread:
        return Finding(
            f"it is right on {accuracy:.1%} of the clean samples, which is chance ({chance:.1%}): does it take pixels "
            "in [0, 1], normalise inside, and number the classes as the data does?"
        )
    return None


def _accuracy(logits: Logits, y: Labels) -> float:
    return float((logits.argmax(1) == y).float().mean())


def _relative_difference(a: Logits, b: Logits) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))
