"""The model as attacks may ask it: logits and gradients, in even batches, every query counted."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from ibrobust.attacks.filling import FULL, ROWS, Filling, out_of_memory
from ibrobust.attacks.losses import cross_entropy
from ibrobust.errors import BadInput, RunFailed
from ibrobust.models.bottleneck import View
from ibrobust.randomness import Draw
from ibrobust.types import Images, Labels, Logits, PerSample

HEAD_START = 3.0
"""Nats by which a rival's mean probability has to lead before noise leaves no doubt of a mistake: 20 to 1."""

Loss = Callable[[Logits, Tensor], PerSample]
"""Logits, and each sample's labels or whatever else it needs, to one number per sample."""

Answer = Callable[[Images], Logits]
"""One batch's logits, its noise already drawn."""


@dataclass
class Queries:
    """Evaluations so far, summed over samples: a gradient is one forward and one backward pass of one sample. `filled`
    are those of rows that only fill batches up; the model computes them too, and nobody looks at their answers."""

    forward: int = 0
    gradient: int = 0
    filled: int = 0

    def not_needed(self, *, forward: int = 0, gradient: int = 0) -> None:
        """So many of the queries only filled batches up: by what came before them nobody needs their answers."""
        self.forward -= forward
        self.gradient -= gradient
        self.filled += forward + gradient


@dataclass(frozen=True)
class Victim:
    """A view of a model, bound to the samples that an attack is working on.

    Attributes:
        view: images and noise to logits.
        draw: the stream of each sample's noise.
        answered: how many queries each sample's stream has answered; shared with every narrowed victim.
        lost: samples on which some gradient was NaN or infinite; shared with every narrowed victim. Attacks get zero
            for such pixels.
        rows: where each sample's entry in `answered`, `lost` and `clean` is.
        batch_size: samples per pass; halved for good where memory runs out.
        queries: the account, shared with every narrowed victim.
        clean: logits and the cross-entropy's gradient at the samples themselves, where they are known already.
        filling: to how many rows batches are filled up.
        favoured: classes whose logits get a head start, so that an attack goes on until a mistake is beyond the noise.
        head_start: how much, in nats.
        target: where attacks have one, the class that each sample is to be turned into. The model then answers a
            question with two answers: the largest other logit, and the target's.
    """

    view: View
    draw: Draw
    answered: Int[Tensor, " all"]
    rows: Int[Tensor, " batch"]
    lost: Bool[Tensor, " all"]
    batch_size: list[int]
    queries: Queries
    clean: tuple[Tensor, Tensor] | None = None
    favoured: Int[Tensor, " all"] | None = None
    head_start: Float[Tensor, " all"] | None = None
    target: Int[Tensor, " all"] | None = None
    filling: Filling = FULL

    def __getitem__(self, kept: Tensor) -> "Victim":
        """The same victim for some of its samples (a mask or indices)."""
        draw = self.draw[kept] if self.view.draws else self.draw
        return replace(self, draw=draw, rows=self.rows[kept])

    def clean_logits(self, x: Images) -> Logits:
        """Logits of the samples themselves, asked once like `clean_gradient`."""
        return self.logits(x) if self.clean is None else self.clean[0][self.rows]

    def clean_gradient(self, x: Images, y: Labels) -> tuple[Logits, Images]:
        """Logits and the gradient of the cross-entropy at the samples themselves: the first step of several attacks,
        and the same for all of them, so that a model without noise is asked once."""
        if self.clean is None:
            return self.loss_gradient(x, y, cross_entropy)
        logits, gradient = self.clean
        return logits[self.rows], gradient[self.rows]

    def logits(self, x: Images) -> Logits:
        """Logits at x."""
        self.queries.forward += len(x)
        self.queries.filled -= len(x)

        def one_batch(x: Images, _y: Tensor, answer: Answer) -> tuple[Tensor]:
            self.queries.filled += len(x)
            return (answer(x),)

        with torch.no_grad():
            return self._in_batches(one_batch, x, None)[0]

    def loss_gradient(self, x: Images, y: Tensor, loss: Loss) -> tuple[Logits, Images]:
        """Logits and the gradient of each sample's loss at x; `y` is what the loss needs of each sample."""
        self.queries.gradient += len(x)
        self.queries.filled -= len(x)

        def one_batch(x: Images, y: Tensor, answer: Answer) -> tuple[Tensor, Tensor]:
            self.queries.filled += len(x)
            x = x.detach().requires_grad_()
            with torch.enable_grad():
                logits = answer(x)
                return logits.detach(), _gradient(loss(logits, y).sum(), x)

        logits, gradient = self._in_batches(one_batch, x, y)
        return logits, self._finite(gradient)

    def output_gradients(
        self, x: Images, y: Tensor, outputs: Callable[[Logits, Tensor], Float[Tensor, "batch outputs"]]
    ) -> tuple[Logits, Float[Tensor, "batch outputs"], Float[Tensor, "batch outputs channels height width"]]:
        """Logits, several functions of them per sample, and the gradient of each: one forward, one backward each."""

        def one_batch(x: Images, y: Tensor, answer: Answer) -> tuple[Tensor, Tensor, Tensor]:
            x = x.detach().requires_grad_()
            with torch.enable_grad():
                logits = answer(x)
                values = outputs(logits, y)
                gradients = [_gradient(value, x, keep=True) for value in values.sum(0)]
            self.queries.filled += len(x) * len(gradients)
            return logits.detach(), values.detach(), torch.stack(gradients, dim=1)

        logits, values, gradients = self._in_batches(one_batch, x, y)
        self.queries.gradient += gradients.shape[0] * gradients.shape[1]
        self.queries.filled -= gradients.shape[0] * gradients.shape[1]
        return logits, values, self._finite(gradients)

    def _finite(self, gradient: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """The gradient with zero for pixels where it is not finite; whose those are is remembered."""
        if gradient.sum().isfinite():  # A sum of finite numbers may overflow, one of others is never finite.
            return gradient
        lost = ~gradient.flatten(1).isfinite().all(1)
        self.lost[self.rows[lost]] = True
        return gradient.nan_to_num(0, 0, 0)

    def _answer(self, x: Images, noise: Draw, places: Int[Tensor, " batch"]) -> Logits:
        logits = self.view.classify(x, noise)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(x) or logits.shape[1] < 2:
            answer = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
            raise BadInput(f"the model answers {len(x)} images with {answer}; it is (images, 2 classes or more)")
        if self.target is not None:
            logits = _others_and_target(logits, self.target[places])
        if self.favoured is None:
            return logits
        lead = HEAD_START if self.head_start is None else self.head_start[places][:, None]
        return logits + lead * F.one_hot(self.favoured[places], logits.shape[1])

    def _in_batches(
        self, one_batch: Callable[[Tensor, Tensor, Answer], tuple[Tensor, ...]], x: Images, y: Tensor | None
    ) -> list[Tensor]:
        x = x.contiguous()  # Kernels round by layout.
        y = torch.zeros(len(x), dtype=torch.int64, device=x.device) if y is None else y
        noise = self._next_noise(len(x))
        parts: list[tuple[Tensor, ...]] = []
        start = 0
        while start < len(x):
            count = _evenly(len(x) - start, self.batch_size[0])
            rows = _filled_up(start, count, self.filling.rows(count), x.device)
            answer = partial(self._answer, noise=noise[rows], places=self.rows[rows])
            try:
                parts.append(tuple(tensor[:count] for tensor in one_batch(x[rows], y[rows], answer)))
                start += count
            except (torch.OutOfMemoryError, RuntimeError) as error:
                self._halve_the_batch(error)
        return [torch.cat(tensors) for tensors in zip(*parts, strict=True)]

    def _halve_the_batch(self, error: RuntimeError) -> None:
        if not out_of_memory(error):
            raise error
        if self.batch_size[0] <= ROWS:
            raise RunFailed(f"out of memory with {ROWS} samples in a batch") from error
        self.batch_size[0] = max(ROWS, self.batch_size[0] // 2 // ROWS * ROWS)

    def _next_noise(self, count: int) -> Draw:
        if not self.view.draws:
            return Draw(torch.zeros(count, dtype=torch.int64, device=self.rows.device))
        noise = self.draw.fold(self.answered[self.rows])
        self.answered[self.rows] += 1
        return noise


def victim(
    view: View,
    draw: Draw,
    *,
    batch_size: int,
    clean: tuple[Tensor, Tensor] | None = None,
    favoured: Labels | None = None,
    target: Labels | None = None,
    filling: Filling = FULL,
) -> Victim:
    """A victim for the samples of `draw`; batch sizes are rounded up to a multiple of `ROWS`.

    `clean` is what `clean_gradient` gives back; a model with noise is asked afresh instead.
    """
    rows = torch.arange(len(draw), device=draw.keys.device)
    return Victim(
        view=view,
        draw=draw,
        answered=torch.zeros_like(rows),
        rows=rows,
        lost=torch.zeros_like(rows, dtype=torch.bool),
        batch_size=[-(-batch_size // ROWS) * ROWS],
        queries=Queries(),
        clean=None if view.draws else clean,
        favoured=favoured,
        target=target,
        filling=filling,
    )


def _others_and_target(logits: Logits, target: Labels) -> Float[Tensor, "batch 2"]:
    """The largest logit but the target's, and the target's."""
    others = logits.scatter(1, target[:, None], -torch.inf).amax(1)
    return torch.stack([others, logits.gather(1, target[:, None]).squeeze(1)], dim=1)


def _evenly(count: int, most: int) -> int:
    """Rows of the next of batches that are about equal: a small last one would take as long as one twice its size."""
    batches = -(-count // most)
    return min(-(-count // (batches * ROWS)) * ROWS, count)


def _filled_up(start: int, count: int, rows: int, device: torch.device) -> slice | Tensor:
    """So many samples, and the first of them again up to the number of rows."""
    if count == rows:
        return slice(start, start + count)
    filled = torch.arange(rows, device=device)
    return start + torch.where(filled < count, filled, 0)


def _gradient(value: Tensor, x: Images, *, keep: bool = False) -> Images:
    """Zero where the value does not depend on x in a way that autograd can see."""
    if not value.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(value, x, retain_graph=keep, allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient
