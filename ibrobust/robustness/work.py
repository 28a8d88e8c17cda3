"""How far an evaluation is: queries made, and queries that are expected to be left."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch

from ibrobust.attacks import Attack
from ibrobust.attacks.filling import ROWS
from ibrobust.models.bottleneck import View
from ibrobust.randomness import Noise
from ibrobust.types import Images, Logits

Tell = Callable[[str, int, float], None]
"""Told (the attack in work, queries so far, queries that are expected to be left) after every pass."""

CLEAN = "clean images"
_GRADIENT = 3
"""What a gradient takes beside logits alone: one pass forward, and one backward that costs two."""


@dataclass
class Work:
    """The account of one evaluation, in passes of one sample forward; a gradient counts as three.

    What is left is expected from what an attack took for the samples that it has finished. Before it has finished any,
    it is expected from its settings, in proportion to what other attacks took of what was expected of them: those that
    search as it does, for the nearest mistake of every sample or only until one is found.

    Attributes:
        usual: queries per sample that the settings let expect, by attack.
        left: samples that an attack has not begun, by attack.
        tell: told how far the work is.
        minimal: attacks that look for the nearest mistake.
        together: attacks whose climbs towards several targets share batches where few samples stand.
        taken: queries per sample, by attack that has finished some.
        done: queries so far.
        broken: samples broken at the largest radius so far; None where nobody says.
        filled: how many times the rows of its samples a pass of a finished attack computes at least.
    """

    usual: dict[str, float] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    tell: Tell = lambda _attack, _done, _left: None
    taken: dict[str, float] = field(default_factory=dict)
    done: int = 0
    broken: int | None = None
    minimal: frozenset[str] = frozenset()
    together: frozenset[str] = frozenset()
    filled: dict[str, float] = field(default_factory=dict)
    _attack: str = CLEAN
    _samples: int = 0
    _begun: int = 0

    @contextmanager
    def of(self, attack: str, samples: int) -> Iterator[None]:
        """Inside the block the attack works on so many samples."""
        self._attack, self._samples, self._begun = attack, samples, self.done
        self.left[attack] = max(self.left.get(attack, 0) - samples, 0)
        self.queried(0)
        yield
        self.taken[attack] = (self.done - self._begun) / max(samples, 1)
        self.filled[attack] = max(ROWS / max(samples, 1), 1.0)
        self._samples = 0
        self.queried(0)

    def leave_out(self, samples: int) -> None:
        """So many samples need no work: their results are there."""
        self.left = {attack: count - samples for attack, count in self.left.items()}

    def queried(self, queries: int) -> None:
        """The attack in work has made so many queries more."""
        self.done += queries
        self.tell(self._attack, self.done, self.remaining)

    @property
    def gradients(self) -> float:
        """Queries per sample that the settings let expect, as so many gradients."""
        return sum(self.usual.values()) / _GRADIENT

    @property
    def remaining(self) -> float:
        """Queries that are expected to be left."""
        made = self.done - self._begun
        # Longer than expected: nobody knows how much longer, but not for ever.
        of_this = max(self._expected(self._attack) * self._samples - made, made / 10) if self._samples else 0.0
        return of_this + sum(self._expected(attack) * count for attack, count in self.left.items())

    def _expected(self, attack: str) -> float:
        if attack in self.taken:
            return self.taken[attack]
        finished = [name for name in self.taken if name in self.usual and name != CLEAN]
        known = [name for name in finished if (name in self.minimal) == (attack in self.minimal)] or finished
        expected = sum(self.usual[name] for name in known)
        taken = sum(self.taken[name] / (self.filled[name] if attack in self.together else 1) for name in known)
        return self.usual.get(attack, 0.0) * (taken / expected if expected else 1.0)

    def watched(self, view: View) -> View:
        """The view, each of whose passes is counted."""

        def classify(x: Images, noise: Noise) -> Logits:
            logits = view.classify(x, noise)
            self.queried(len(x) * (_GRADIENT if x.requires_grad and torch.is_grad_enabled() else 1))
            return logits

        return replace(view, classify=classify)


def expected_work(
    attacks: Mapping[str, Attack], samples: int, *, walks: int, tell: Tell = lambda _attack, _done, _left: None
) -> Work:
    """The work of an evaluation that has not begun.

    Args:
        walks: how many radii every attack is run at: one where a search finds the radius, all of them under noise.
    """
    usual = {CLEAN: 2.0 * _GRADIENT, **{name: walks * _usual_queries(attack) for name, attack in attacks.items()}}
    minimal = frozenset(name for name, attack in attacks.items() if attack.minimal)
    together = frozenset(name for name, attack in attacks.items() if "targets" in attack.settings)
    return Work(usual, dict.fromkeys(usual, samples), tell, minimal=minimal, together=together)


def _usual_queries(attack: Attack) -> float:
    """About what the attacks of the strict protocol take per sample on the released runs."""
    settings = attack.settings
    restarts = settings.get("restarts", 1)
    if "queries" in settings:
        return 0.7 * float(settings["queries"] * restarts)  # most samples of a robust model use them all
    steps, targets = settings.get("steps", 10), settings.get("targets", 0)
    if attack.minimal and not targets:
        steps = min(steps, 5)
    a_step = _GRADIENT + 1 if attack.minimal and targets else _GRADIENT  # FAB looks where it has come to
    return float(a_step * steps * max(targets, 1) * restarts)
