"""Is a model what it is taken for? Looked at before the first attack, from every entrance."""

import warnings

import torch
from torch import Tensor, nn

from ibrobust.errors import BadInput, ModelWarning, ran_out_of_memory
from ibrobust.images import as_images, frozen
from ibrobust.models.bottleneck import view
from ibrobust.models.calls import undisturbed
from ibrobust.randomness import sample_draw
from ibrobust.robustness.samples import looked_at
from ibrobust.robustness.symptoms import Finding, Patient, found_in
from ibrobust.types import Labels

HEALTH = ("check", "ignore")
"""Whether a model is looked at before it is attacked."""
IGNORED = "it was not looked at before it was attacked (health 'ignore')"
_ALL_THE_SAME = "health 'ignore' evaluates it all the same (--health ignore on the command line)"

_BATCHES = (64, 16, 1)
"""Images per pass: fewer where memory runs out."""


def warned_of(model: nn.Module, x: Tensor, y: Labels, *, noisy: bool = False, gradients: bool = True) -> list[str]:
    """What is odd about a model that can be asked, each told as a `ModelWarning`, too.

    What makes a model unusable is left to those who attack it: they name the samples.

    Args:
        noisy: the model is scored under its noise.
        gradients: some attack uses them.

    Raises:
        BadInput: with the first thing found that makes any number meaningless.
    """
    texts = []
    for finding in _findings(model, x, y, noisy=noisy, gradients=gradients, unusable=False):
        if finding.refused:
            raise BadInput(f"the model cannot be evaluated: {finding.text}; {_ALL_THE_SAME}")
        texts.append(finding.text)
    for text in texts:
        warnings.warn(text, ModelWarning, stacklevel=4)
    return texts


def require_health_choice(health: str) -> None:
    """Raises:
    BadInput: it is neither `check` nor `ignore`.
    """
    if health not in HEALTH:
        raise BadInput(f"health {health!r}: choose from {', '.join(HEALTH)}")


def require_healthy(model: nn.Module, x: Tensor, y: Labels, *, gradients: bool = True) -> list[str]:
    """The warnings of `health`.

    Args:
        gradients: whether gradients are looked at; attacks without them need none.

    Raises:
        BadInput: with the first thing found that makes any number meaningless.
    """
    findings = _findings(model, x, y, gradients=gradients)
    for finding in findings:
        if finding.refused:
            raise BadInput(f"the model cannot be evaluated: {finding.text}; {_ALL_THE_SAME}")
    return [finding.text for finding in findings]


def health(model: nn.Module, x: Tensor, y: Labels) -> list[Finding]:
    """What is odd about a model on up to 128 samples spread over the data; empty where nothing is.

    Looks for: answers that hold logits among others, or are of the wrong kind, shape or number of classes, NaN,
    probabilities in place of logits, images that are written into, answers that differ between two passes or with the
    rest of the batch, gradients that are missing, zero or not finite, and accuracy that is better on pixels of another
    range than [0, 1]. It takes some 600 forward passes of one sample and 128 gradients, which count as no attack's
    queries. The model is in evaluation mode meanwhile, and no generator of random numbers moves.
    """
    return _findings(model, x, y)


@undisturbed()
def _findings(
    model: nn.Module, x: Tensor, y: Labels, *, noisy: bool = False, gradients: bool = True, unusable: bool = True
) -> list[Finding]:
    rows = looked_at(len(x))
    device = next((parameter.device for parameter in model.parameters()), x.device)
    images, labels = as_images(x[rows]).to(device), y[rows].to(device)
    seen, no_noise = view(model, "mean"), sample_draw(0, torch.zeros(1, dtype=torch.int64))
    with frozen(model), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        for batch in _BATCHES:
            torch.manual_seed(0)
            patient = Patient(model, images, labels, batch, lambda images: seen.classify(images, no_noise))
            try:
                return found_in(patient, noisy=noisy, gradients=gradients, unusable=unusable)
            except (MemoryError, RuntimeError) as error:
                if not ran_out_of_memory(error) or batch == _BATCHES[-1]:
                    raise
    raise AssertionError("the last batch returns or raises")
