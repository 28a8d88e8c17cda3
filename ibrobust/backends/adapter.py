"""What every library's adapter shares: one radius per call, its random numbers, an account of what it asks."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ibrobust.attacks import Attempt
from ibrobust.attacks.norms import NORMS, wide
from ibrobust.attacks.victim import Queries, Victim
from ibrobust.types import Images, Labels, Logits

ROUNDING = 1e-6
"""How far outside [0, 1] a library's float32 arithmetic may land and still be pulled back."""


class Call(NamedTuple):
    """One call of a library's attack: a model, samples of it, one radius (None for a minimal attack)."""

    model: nn.Module
    x: Images
    y: Labels
    eps: float | None
    norm: str
    classes: int
    seed: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class PeerAttack:
    """A library's form of one attack.

    Attributes:
        run: one call of the library.
        deviation: what it does other than our settings ask, in words; printed in the card.
    """

    run: Callable[[Call], Images]
    deviation: str = ""


@dataclass(frozen=True)
class Adapter:
    """What a library has, by attack and norm."""

    attacks: Mapping[tuple[str, str], PeerAttack]


def library_attack(run: Callable[[Call], Images], attempt: Attempt, **settings: Any) -> Images:
    """A fixed-radius attack of a library in the form of our own: a call per distinct radius and batch."""
    x_adv = attempt.x.clone()
    for radius in sorted(set(attempt.eps.tolist())):
        at_radius = (attempt.eps == radius).nonzero().squeeze(1)
        x_adv[at_radius] = _in_batches(run, attempt[at_radius], radius, settings)
    return x_adv


def minimal_library_attack(run: Callable[[Call], Images], attempt: Attempt, **settings: Any) -> Images:
    """A library's attack without a radius in the form of our own."""
    return _in_batches(run, attempt, None, settings)


def nearest_of_targets(call: Call, towards: Callable[[int], Images], targets: int) -> Images:
    """The nearest image that is wrong, of one run of FAB towards each of the targets.

    Args:
        towards: a run towards the class of the t-th largest logit, from t = 2 on.
    """
    distance = NORMS[call.norm].distance
    nearest, smallest = call.x, torch.full((len(call.x),), torch.inf, device=call.x.device)
    for target in range(2, targets + 2):
        x_adv = towards(target)
        with torch.no_grad():
            fooled = call.model(x_adv).argmax(1) != call.y
        reached = torch.where(fooled, distance(x_adv, call.x), torch.inf)
        nearest = torch.where(wide(reached) < wide(smallest), x_adv, nearest)
        smallest = torch.minimum(smallest, reached)
    return nearest


def _in_batches(
    run: Callable[[Call], Images], attempt: Attempt, eps: float | None, settings: Mapping[str, Any]
) -> Images:
    victim, x, y, draw = attempt.victim, attempt.x, attempt.y, attempt.draw
    model = CountedModel(victim, x.device)
    classes = victim.logits(x[:1]).shape[1]
    size = victim.batch_size[0]
    x_adv = []
    for rows in (slice(start, start + size) for start in range(0, len(x), size)):
        seed = int(draw.keys[rows].sum()) % 2**31
        with _library_randomness(seed):
            returned = run(Call(model, x[rows], y[rows], eps, attempt.norm.name, classes, seed, settings))
        x_adv.append(_without_rounding(returned.detach().to(x.device)))
    return torch.cat(x_adv)


def _without_rounding(x_adv: Images) -> Images:
    """Pixels outside [0, 1] by no more than float32 arithmetic, inside; anything further out stays for all to see."""
    inside = x_adv.clamp(0, 1)
    return torch.where((x_adv - inside).abs() <= ROUNDING, inside, x_adv)


@contextmanager
def _library_randomness(seed: int) -> Iterator[None]:
    """Libraries draw from the global generators: seeded here, and as they were afterwards."""
    numpy_state = np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)


class CountedModel(nn.Module):
    """The victim's view as a library wants it: a module in evaluation mode; its queries are counted.

    A forward pass that a backward pass follows is one gradient; further backward passes through it are one each.
    """

    def __init__(self, victim: Victim, device: torch.device) -> None:
        super().__init__()
        self._victim = victim
        # Libraries look for the device at the first parameter.
        self.device_mark = nn.Parameter(torch.zeros(1, device=device), requires_grad=False)
        self.eval()

    def forward(self, x: Images) -> Logits:
        queries = self._victim.queries
        if x.requires_grad and torch.is_grad_enabled():
            x = _CountedBackward.apply(x, queries)
        else:
            queries.forward += len(x)
        return self._victim.view(x, self._victim.draw)


class _CountedBackward(torch.autograd.Function):
    """The identity; a backward pass through it is counted."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, queries: Queries) -> Tensor:
        ctx.queries = queries
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        ctx.queries.gradient += len(gradients[0])
        return gradients[0], None
