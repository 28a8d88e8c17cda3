"""A block of samples before any attack, and the victims through which attacks see it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ibrobust.attacks import Attack, Victim, victim
from ibrobust.attacks.contract import Samples
from ibrobust.attacks.filling import FULL, Filling, needed_filling
from ibrobust.models.bottleneck import View
from ibrobust.randomness import Draw, sample_draw
from ibrobust.robustness.first_queries import clean_pass, models_fault
from ibrobust.robustness.question import Question
from ibrobust.robustness.search import Indices
from ibrobust.robustness.targeted import target_classes
from ibrobust.robustness.transfer import LEAD
from ibrobust.robustness.work import CLEAN
from ibrobust.types import Images, Labels, Logits


@dataclass(frozen=True)
class CleanBlock:
    """Samples that nobody has attacked yet.

    Attributes:
        wrong: places of those whose clean prediction is wrong.
        spared: those that are right and whose label is the target: no attack can turn them into it.
        attacked: places of all others.
        logits: what the model answers.
        gradient: that of the cross-entropy; None where no gradient is asked for.
        lost: where the gradient was not finite.
        target: the class that each sample is to be turned into, where attacks have one.
        draw: the random numbers of passes that no attack makes.
        queries: those of the clean pass.
        seen: (view, random numbers) → a victim.
        view: of the model that is scored.
        source: the view of the model that attacks see, where it is another one.
        certain: how many radii are proven for each sample.
    """

    x: Images
    y: Labels
    ids: Int[Tensor, " batch"]
    wrong: Int[Tensor, " wrong"]
    spared: Bool[Tensor, " batch"]
    attacked: Int[Tensor, " attacked"]
    logits: Logits
    gradient: Images | None
    lost: Bool[Tensor, " batch"]
    target: Labels | None
    draw: Draw
    queries: dict[str, int]
    seen: Callable[..., Victim]
    view: View
    source: View | None
    certain: Indices

    @classmethod
    def of(cls, question: Question, filling: Filling, x: Images, y: Labels, ids: Int[Tensor, " batch"]) -> "CleanBlock":
        """The block after the clean pass.

        Args:
            filling: what `filling_of` the question says.

        Raises:
            BadInput: the model raised, has no class of the target's number, or its logits are not finite.
        """
        settings, size = question.settings, question.batch_size
        draw = sample_draw(settings.seed, ids).fold("clean")
        seen = partial(victim, batch_size=size, filling=filling)
        unattacked = seen(question.seen, draw)
        with question.work.of(CLEAN, len(x)):
            logits, gradient = clean_pass(unattacked, x, y, ids, gradient=question.gradients)
        named = settings.target_class
        target = target_classes(named, settings.seed, logits, y, ids) if named else None
        right = logits.argmax(1) == y
        spared = torch.zeros_like(right) if target is None else right & (target == y)
        source = question.source.seen if question.source else None
        wrong, attacked = (~right).nonzero().squeeze(1), (right & ~spared).nonzero().squeeze(1)
        told = (
            unattacked.lost,
            target,
            draw,
            asdict(unattacked.queries),
            seen,
            question.seen,
            source,
            _certain(question, ids),
        )
        return cls(x, y, ids, wrong, spared, attacked, logits, gradient, *told)

    def samples(self, attack: Attack, draw: Draw, places: Indices, ends: Mapping[str, Images] | None = None) -> Samples:
        """Some of the block's samples, with the victim that an attack is scored on, and the one that it sees where that
        is another model.

        Args:
            ends: of attacks before this one; None where the attack stands for others after all of them.
        """
        y = self.y[places] if self.target is None else torch.zeros_like(self.y[places])
        target = None if self.target is None else self.target[places]
        known = None
        if ends is not None and self.gradient is not None and target is None:
            known = self.logits[places], self.gradient[places]
        scored = self.seen(self.view, draw, clean=known, target=target)
        source = None
        if self.source:
            favoured = None if attack.minimal else y
            source = self.seen(self.source, draw, filling=FULL, favoured=favoured, target=target)
            source = replace(source, head_start=torch.full_like(self.x[places, 0, 0, 0], LEAD))
        return Samples(scored, self.x[places], y, self.ids[places], draw, dict(ends or {}), source)

    def answers(self, places: Indices, images: Images) -> Logits:
        """The model's answers to images of some samples; they are not among anybody's queries."""
        return self.seen(self.view, self.draw[places]).logits(images)


def filling_of(question: Question) -> Filling:
    """How far batches are filled up for a question, measured once for all its blocks: of large images a block holds so
    few that measuring it for each would cost more than they do.

    Raises:
        BadInput: the model raised.
    """
    shape = tuple(question.samples.x.shape[1:])
    with models_fault("the model raised on random images"):
        return needed_filling(question.seen, shape, question.batch_size, question.device, question.gradients)


def _certain(question: Question, ids: Int[Tensor, " batch"]) -> Indices:
    """How many radii are proven for each of these samples."""
    if question.certified is None or question.settings.norm != "linf":
        return torch.zeros_like(ids)
    certified = torch.tensor([question.certified[sample] for sample in ids.tolist()], device=ids.device)
    return torch.searchsorted(question.positive_E, certified.float(), right=True)
