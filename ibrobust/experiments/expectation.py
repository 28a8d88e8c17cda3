"""What a block of an evaluation is expected to take, before the first one has been worked on."""

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from ibrobust.experiments.blocks import Stopwatch
from ibrobust.experiments.pace import FIRST, Expectation
from ibrobust.images import as_images, frozen
from ibrobust.models.bottleneck import View, view
from ibrobust.models.calls import undisturbed
from ibrobust.randomness import sample_draw
from ibrobust.types import Images

_MANY = 8 * FIRST
_REPEATS = 3


def expected_of(model: nn.Module, x: Tensor, how: str, gradients: float) -> Expectation | None:
    """What a block of samples takes if none of them breaks early, by what a gradient of few and of many rows takes.

    Args:
        x: samples that are like those of the blocks, as they are stored, (batch, channels, height, width).
        how: how noise is scored, as `view` takes it.
        gradients: how many the attacks take per sample.

    Returns:
        None where there are too few samples to tell, or the model raises: the attack that meets it says so.
    """
    if len(x) < 2 * FIRST:
        return None
    device = next((parameter.device for parameter in model.parameters()), x.device)
    images = as_images(x[:_MANY]).to(device)
    with ExitStack() as stack:
        stack.enter_context(undisturbed())
        stack.enter_context(torch.random.fork_rng(devices=range(torch.cuda.device_count())))
        stack.enter_context(frozen(model))
        try:
            few, many = (_seconds_of_a_gradient(view(model, how), rows) for rows in (images[:FIRST], images))
        except Exception:
            return None
    each = max(many - few, 0.0) / (len(images) - FIRST)
    return Expectation(gradients * max(few - FIRST * each, 0.0), gradients * each)


def _seconds_of_a_gradient(seen: View, x: Images) -> float:
    """The least of some repeats, since others may use the machine."""
    noise = sample_draw(0, torch.arange(len(x)))

    def once() -> float:
        watch, image = Stopwatch(), x.clone().requires_grad_()
        torch.autograd.grad(seen.classify(image, noise).sum(), image, allow_unused=True)
        return watch.answer(None).work

    with torch.enable_grad():
        return min(once() for _ in range(_REPEATS))
