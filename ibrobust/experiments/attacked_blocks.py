"""The job of an evaluation: a block of samples in, its rows and images out. It writes nothing."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ibrobust.backends import peer_attacks, radii_by_a_library
from ibrobust.certificates.certificate import certified_in_turn
from ibrobust.errors import ModelWarning
from ibrobust.experiments.blocks import Block, Latest, Stopwatch, Teller
from ibrobust.experiments.expectation import expected_of
from ibrobust.experiments.jobs import Tell
from ibrobust.experiments.paying_proofs import Choice, paying_proofs
from ibrobust.experiments.pieces import Answer
from ibrobust.experiments.progress import Told
from ibrobust.experiments.subject import Subject
from ibrobust.robustness.breaking_radii import radii_that_break
from ibrobust.robustness.certified import proven_by_id
from ibrobust.robustness.corruption_accuracy import corruption_results
from ibrobust.robustness.corruption_results import CorruptionResults
from ibrobust.robustness.health import warned_of
from ibrobust.robustness.noisy_readings import readings_under_noise
from ibrobust.robustness.question import Execution, chosen_attacks, gradients_asked, make_question
from ibrobust.robustness.samples import Samples, usable_samples
from ibrobust.robustness.settings import NATIVE, Settings
from ibrobust.robustness.storage import AnyStored
from ibrobust.robustness.work import CLEAN, Work, expected_work
from ibrobust.subjects.zoo import versions


@dataclass(frozen=True)
class Task:
    """The evaluation of one run: its model, how it is attacked, and what a card says of both."""

    model: Callable[[], nn.Module]
    settings: Settings
    about: Mapping[str, Any]
    source: Callable[[], nn.Module] | None = None


def task_of(subject: Subject, settings: Settings) -> Task:
    about = {
        "model": subject.model_record,
        "data": subject.data_record,
        "versions": versions(),
        "plugins": subject.plugins(settings),
    }
    if subject.source is None:
        return Task(subject.model, settings, about)
    return Task(subject.model, settings, {**about, "transfer": subject.source.record}, subject.source.model)


class Looked(NamedTuple):
    """What is odd about a model, and whether to prove before it is attacked, where that was to be found out."""

    warned: list[str]
    choice: Choice | None = None


@dataclass
class AttackedBlocks:
    """A job: a block to its results, or to what is odd about its model.

    Attributes:
        tasks: by the number of their run.
    """

    tasks: list[Task]
    execution: Execution
    _model: Latest[nn.Module] = field(default_factory=Latest)
    _taken: Latest[dict[str, float]] = field(default_factory=Latest)

    def __call__(self, block: Block, tell: Tell) -> Answer:
        task = self.tasks[block.piece]
        model = self._model.of(block.piece, lambda: task.model().to(self.execution.device))
        rows = torch.arange(block.rows.start, block.rows.stop) if block.ids is None else torch.from_numpy(block.ids)
        # Told again by the calling process, of the whole.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ModelWarning)
            if block.look:
                return self._look(task, model, block)
            samples = usable_samples(block.split.x, block.split.y, rows)
            watch = Stopwatch()
            results = self._results(task, model, samples, block, tell)
        about = task.about if isinstance(results, CorruptionResults) else {**task.about, "warnings": None}
        card = results.card.model_copy(update=about)
        return watch.answer(replace(results, card=card))

    def _results(self, task: Task, model: nn.Module, samples: Samples, block: Block, tell: Tell) -> AnyStored:
        execution = replace(self.execution, work=self._work(block, tell))
        if task.settings.corrupts:
            return corruption_results(model, samples, task.settings, execution, block.variants)
        if task.settings.backend != NATIVE:
            attacks = peer_attacks(task.settings.backend, task.settings.attack_names, task.settings.norm)
            return radii_by_a_library(model, samples, task.settings, execution, attacks)
        if block.prove:
            certified = self._certified(task, model, samples, tell)
            execution = replace(execution, certified=proven_by_id(certified, samples.ids.tolist()))
        source = task.source() if task.source else None
        question = make_question(model, samples, task.settings, execution, source=source)
        return radii_that_break(question) if task.settings.view == "mean" else readings_under_noise(question)

    def _certified(self, task: Task, model: nn.Module, samples: Samples, tell: Tell) -> NDArray[np.float32]:
        """Bounds of a block before its attacks: half of its work, as nobody knows how much they will save."""
        say, certified = Teller(tell), [np.zeros(0, np.float32)]
        x = samples.x.to(self.execution.device)
        for some in certified_in_turn(model, x, samples.y, task.settings.radii):
            certified.append(some)
            say(Told(sum(map(len, certified)) / len(samples.x) / 2, "bounds"))
        return np.concatenate(certified)

    def _look(self, task: Task, model: nn.Module, block: Block) -> Answer:
        """What is odd about the model, where its record does not say it, and what blocks will take."""
        settings, warned = task.settings, []
        x, y, _ = usable_samples(block.split.x, block.split.y)
        if task.about["model"].warnings is None:
            warned = warned_of(model, x, y, noisy=settings.view != "mean", gradients=gradients_asked(settings))
        if settings.corrupts or settings.backend != NATIVE:
            return Answer(Looked(warned))
        gradients = usual_work(settings, 1).gradients * settings.attack_seeds
        auto = self.execution.proofs == "auto"
        choice = paying_proofs(model, block.split, settings.radii, gradients) if auto else None
        return Answer(Looked(warned, choice), expected=expected_of(model, x, settings.view, gradients))

    def _work(self, block: Block, tell: Tell) -> Work:
        """The account of a block, which expects what earlier blocks of the same run took."""
        say = Teller(tell)

        def telling(attack: str, done: int, left: float) -> None:
            share = done / (done + left) if done else 0.0
            say(Told((1 + share) / 2 if block.prove else share, attack, work.broken))

        work = usual_work(self.tasks[block.piece].settings, len(block))
        work.tell, work.taken = telling, self._taken.of(block.piece, dict)
        return work


def usual_work(settings: Settings, samples: int) -> Work:
    """The work that settings let expect."""
    # A search finds an attack's radius in one or two runs of it; under noise it is run at every radius.
    walks = 1 if settings.view == "mean" else sum(radius > 0 for radius in settings.radii)
    work = expected_work(chosen_attacks(settings), samples * settings.attack_seeds, walks=walks)
    work.left[CLEAN] = samples
    return work
