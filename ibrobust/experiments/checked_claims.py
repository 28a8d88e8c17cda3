"""The job of an audit: some checks of a claim in, their findings out. It writes nothing."""

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from torch import nn

from ibrobust.checks import Case, findings_of
from ibrobust.datasets import Split
from ibrobust.errors import ModelWarning
from ibrobust.experiments.blocks import Latest, Stopwatch
from ibrobust.experiments.jobs import Tell
from ibrobust.experiments.pieces import Answer
from ibrobust.experiments.progress import Told
from ibrobust.images import as_images
from ibrobust.robustness.health import warned_of
from ibrobust.robustness.samples import usable_samples
from ibrobust.robustness.storage import Results

LOOK = "look"
"""Stands in place of a check's name for the look at the model's health."""


@dataclass(frozen=True)
class Checks:
    """Checks of one claim that are run together."""

    piece: int
    names: tuple[str, ...]

    @property
    def key(self) -> str:
        return "+".join(self.names)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Claimed:
    """What is claimed, of which model and samples."""

    model: Callable[[], nn.Module]
    claim: Results
    split: Split
    twin: Callable[[], nn.Module] | None


@dataclass
class CheckedClaims:
    """A job: checks of a claim to their findings, or to what is odd about the model.

    Attributes:
        tasks: by the number of their piece.
    """

    tasks: list[Claimed]
    device: str
    _case: Latest[Case] = field(default_factory=Latest)

    def __call__(self, checks: Checks, tell: Tell) -> Answer:
        case = self._case.of(checks.piece, lambda: self._made(self.tasks[checks.piece]))
        watch, told = Stopwatch(), 0

        def progress(name: str) -> None:
            nonlocal told
            tell(Told(told / len(checks), name))
            told += 1

        # Told again by the calling process.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ModelWarning)
            if checks.names == (LOOK,):
                split = self.tasks[checks.piece].split
                noisy, gradients = case.claimed.noisy, case.claimed.gradients
                return Answer(warned_of(case.model, split.x, split.y, noisy=noisy, gradients=gradients))
            findings = findings_of(case, checks.names, progress=progress)
        return watch.answer([asdict(finding) for finding in findings])

    def _made(self, task: Claimed) -> Case:
        x, y, _ = usable_samples(task.split.x, task.split.y)
        model = task.model().to(self.device)
        twin = task.twin().to(self.device) if task.twin else None
        return Case(model, as_images(x.to(self.device)), y.to(self.device), task.claim, twin)
