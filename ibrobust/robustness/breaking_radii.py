"""Breaking radii: every attack of a protocol against every sample, each answer checked outside the attack."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from torch import Tensor

from ibrobust.attacks import Attack
from ibrobust.attacks.contract import Samples, breaking_distance, broken_at, image_found
from ibrobust.attacks.filling import Filling
from ibrobust.attacks.norms import BALL_TOLERANCE
from ibrobust.errors import ModelWarning
from ibrobust.images import as_images
from ibrobust.models.answers import Classifier
from ibrobust.models.calls import undisturbed
from ibrobust.randomness import Draw, sample_draw
from ibrobust.robustness.attack_seeds import worst_and_each
from ibrobust.robustness.card import SUBSTITUTE
from ibrobust.robustness.certified import proven_by_id
from ibrobust.robustness.clean_block import CleanBlock, filling_of
from ibrobust.robustness.evidence import Block, Evidence, Recorder, joined_evidence, kept_of
from ibrobust.robustness.lost_gradients import about_samples, substitute, warned_of_lost, with_gradients
from ibrobust.robustness.question import (
    Accounts,
    Chosen,
    Execution,
    Progress,
    Question,
    added,
    filled,
    make_question,
    settings_of_call,
    warnings_about,
)
from ibrobust.robustness.radii import Radii
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.samples import Arrays, LabelledData, usable_samples
from ibrobust.robustness.search import SEARCHES, Indices, Search
from ibrobust.robustness.transfer import as_far_as, settings_of_source
from ibrobust.types import Images, Labels, PerSample


@undisturbed()
def breaking_radii(
    model: Classifier,
    x: Arrays | LabelledData,
    y: Arrays | None = None,
    *,
    eps: Radii = "0:0.1",
    protocol: str = "paper",
    attacks: Chosen = None,
    norm: str | int | float = "linf",
    search: str = "bisect",
    columns: str = "own",
    restarts: int = 1,
    seed: int = 0,
    attack_seeds: int = 1,
    ids: Arrays | None = None,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    progress: Progress = lambda _attack, _done: None,
    keep_images: bool | str = False,
    health: str = "check",
    certified: NDArray[np.float32] | None = None,
    target_class: int | str | None = None,
    transfer_from: Classifier | None = None,
) -> BreakingRadii:
    """For each attack of the protocol and each sample, the smallest radius that broke it.

    A model of this package is attacked and scored with its noise off; `noisy_readings` is for what noise does. On a
    CPU, calling `ibrobust.cpu.allocator.keep_freed_memory` before, as the commands do, saves time.

    Args:
        model: images in [0, 1], (B, C, H, W) float32, to logits (B, classes); normalises inside. A module, or a
            function, which nothing switches to evaluation mode. Of an object with `.logits`, a dict with one tensor or
            a tuple that begins with one, that is taken.
        x, y: the samples, floating point in [0, 1] or bytes, and their labels (whole numbers or one-hot rows); tensors,
            arrays or lists. Or x is a torch `Dataset` or `DataLoader` of both.
        eps: radii as `0:0.1`, `0:0.1:21`, `2/255,0.05`, a number, or several.
        attacks: instead of the protocol's: a mapping of your own by name, or names of registered ones.
        protocol, norm, search: names from `PROTOCOLS`, `NORMS`, `SEARCHES`.
        columns: `own` gives each attack's own answer; `standing` asks an attack only below the radius at which those
            before it broke a sample, so that a column holds the answer of all attacks so far. The all-attack curve
            is the same but for samples that are not monotone; the work is less.
        restarts: random starts of the attacks that have them; your own keep theirs.
        attack_seeds: how often the whole protocol runs, with the seeds from `seed` on. A column then holds the worst
            case, and `table.of_seed(3)` gives back what one seed found.
        ids: the samples' numbers, which their random numbers depend on; 0, 1, … by default.
        batch_size: samples per pass through the model; changes speed and memory, not the result.
        device: where the model runs; where its parameters are by default.
        keep_images: True keeps, of each broken sample, the image at its smallest breaking radius, in `table.images`
            and `table.evidence`; `"each"` keeps one for each attack that broke it.
        health: `check` looks at the model first (`ibrobust.robustness.health`): what makes every number meaningless is
            refused, what is odd is a `ModelWarning`, a line of the printed table and in its card; `ignore` does not.
        certified: per sample a radius within which a certificate proves that nothing changes its prediction: no attack
            is made there. All columns are as without it, the work is less. In other norms than L∞ it does not count.
        target_class: only turning a sample into this class counts: a class's number, `least-likely` or `random`.
        transfer_from: images are made on this model instead, and scored on `model`, of which no gradient is asked.

    Raises:
        BadInput: an argument cannot be used, the model is refused, or its answer has the wrong shape or is not finite.
        RunFailed: an attack raised or returned an invalid image; names the attack and the samples.
    """
    given: dict[str, object] = {"eps": eps, "norm": norm, "search": search, "columns": columns, "restarts": restarts}
    given |= {"seed": seed, "attack_seeds": attack_seeds, "target_class": target_class}
    given |= settings_of_source(transfer_from, search)
    settings = settings_of_call(given, protocol, attacks, usual="paper")
    own = attacks if isinstance(attacks, Mapping) else None
    samples = usable_samples(x, y, ids)
    proven = proven_by_id(certified, samples.ids.tolist())
    execution = Execution(batch_size, device, progress, kept_of(keep_images), certified=proven)
    question = make_question(model, samples, settings, execution, attacks=own, source=transfer_from)
    warned = warnings_about(question, health)
    results = radii_that_break(question)
    return replace(results, card=results.card.with_warnings(warned))


def radii_that_break(question: Question) -> BreakingRadii:
    """The answer to a question about a model whose noise is off.

    Raises:
        BadInput: there is no such search, or the model's answer has the wrong shape or is not finite.
        RunFailed: an attack raised or returned an invalid image; names the attack and the samples.
    """
    search = SEARCHES[question.settings.search]
    with question.blocks() as blocks:
        without = _without(question)
        evaluation = _Evaluation(question, question.positive_E, search, filling_of(question))
        parts = [evaluation.part(*block) for block in blocks]
    accounts = [part.accounts for part in parts]
    rows = pd.concat([part.rows for part in parts], ignore_index=True)
    images = [part.evidence for part in parts if part.evidence is not None]
    evidence = joined_evidence(images) if images else None
    card = question.card(accounts).with_warnings([*without, *warned_of_lost(rows)])
    return BreakingRadii(rows, card, filled(accounts), evidence)


def _without(question: Question) -> list[str]:
    """What attacks do without for this model and norm, one sentence each, told as a `ModelWarning`, too."""
    x = as_images(question.samples.x[:1].to(question.device))
    texts = [
        f"attack {name!r} {sentence}"
        for name, attack in question.attacks.items()
        for sentence in attack.left_out(question.seen, x, question.norm)
    ]
    for text in texts:
        warnings.warn(text, ModelWarning, stacklevel=4)
    return texts


class _Part(NamedTuple):
    """What one block of samples gave: rows of the table, the queries of each attack, and the images that were kept."""

    rows: pd.DataFrame
    accounts: Accounts
    evidence: Evidence | None


Note = Callable[[Indices, Indices, Images], None]
"""(samples that an attack broke, the radius of each as an index, their images) → kept, where images are."""


@dataclass(frozen=True)
class _Evaluation:
    """One question, and how its answers are found."""

    question: Question
    radii: Tensor
    search: Search
    filling: Filling

    def part(self, x: Images, y: Labels, ids: Int[Tensor, " batch"]) -> _Part:
        """The answer for one block of samples."""
        clean = CleanBlock.of(self.question, self.filling, x, y, ids)
        kept = Recorder(self.question.kept, Block(x, y, ids, self.radii), [*self.question.attacks])
        kept.note_unchanged(clean.wrong)
        accounts, lost = {"clean": clean.queries}, clean.lost.clone()
        found: dict[int, dict[str, Indices]] = {}
        for seed in self.question.settings.seeds:
            found[seed], lost_now = self._attacked(clean, sample_draw(seed, ids), kept, accounts)
            lost[clean.attacked] |= lost_now
        columns = {name: self._column(clean, index) for name, index in worst_and_each(found).items()}
        values = about_samples(ids, y, clean.logits, clean.gradient, lost) | columns
        table = pd.DataFrame({name: column.cpu().numpy() for name, column in values.items()})
        return _Part(table, accounts, kept.evidence(clean.answers))

    def _attacked(
        self, clean: CleanBlock, draw: Draw, kept: Recorder, accounts: Accounts
    ) -> tuple[dict[str, Indices], Bool[Tensor, " attacked"]]:
        """By attack the index of the radius that broke each sample that is attacked, and on which of them a gradient
        was lost; `accounts` are added to."""
        places, count = clean.attacked, len(clean.x)
        best = torch.full((len(places),), len(self.radii), device=clean.x.device)
        lost, found = clean.lost[places], {}
        ends: dict[str, Images] = {}
        for name, attack in self.question.attacks.items():
            samples = clean.samples(attack, draw[places].fold(name), places, ends)
            with self.question.work.of(name, count):
                note = partial(kept.note, name, places)
                index = self._smallest_index(name, attack, samples, (best, clean.certain[places]), note, ends)
            best = torch.minimum(best, index)
            self.question.work.broken = count - int((best == len(self.radii)).sum())
            found[name], lost = index, lost | samples.attacked.lost
            accounts[name] = added(accounts.get(name), asdict(samples.attacked.queries))
            self.question.progress(name, count)
        if len(rows := lost.nonzero().squeeze(1)):
            some, attack = places[rows], substitute(self.question.attacks)
            samples = clean.samples(attack, draw[some].fold(SUBSTITUTE), some)
            self._substitute(attack, samples, (rows, clean.certain[some]), found, partial(kept.note, among=some))
            accounts[SUBSTITUTE] = added(accounts.get(SUBSTITUTE), asdict(samples.attacked.queries))
        return found, lost

    def _column(self, clean: CleanBlock, index: Tensor) -> Tensor:
        """Breaking radii of all samples from the indices of those that are attacked: 0 for those that are wrong, and
        infinity for those whose label is the target."""
        column = torch.where(clean.spared, torch.inf, 0.0)
        column[clean.attacked] = torch.cat([self.radii, self.radii.new_tensor([torch.inf])])[index]
        return column

    def _substitute(
        self, attack: Attack, samples: Samples, lost: tuple[Indices, Indices], found: dict[str, Tensor],
        note: Callable[..., None],
    ) -> None:  # fmt: skip
        """Where gradients are not finite, each attack that climbs them breaks what the one without gradients breaks;
        `lost` says on which samples, and how many of their radii are proven."""
        rows, certain = lost
        climbing = with_gradients(self.question.attacks)
        if not climbing:
            return

        def noted(chosen: Indices, index: Indices, images: Images) -> None:
            for name in climbing:
                note(name, chosen=chosen, index=index, x_adv=images)

        limit = torch.stack([found[name][rows] for name in climbing]).amax(0)
        index = self._smallest_index(SUBSTITUTE, attack, samples, (limit, certain), noted, {})
        for name in climbing:
            found[name] = found[name].index_copy(0, rows, torch.minimum(found[name][rows], index))

    def _smallest_index(
        self, name: str, attack: Attack, samples: Samples, known: tuple[Indices, Indices], note: Note,
        ends: dict[str, Images],
    ) -> Tensor:  # fmt: skip
        """The index of the first radius that breaks; `known` is what all attacks before this one needed, and how many
        radii are proven: none is attacked there, and the search goes on as after a failure. `note` is told every image
        that is a mistake, and `ends` keeps the last one of each sample that is none, for attacks that come after this
        one and attack what stands."""
        best, certain = known
        if not len(samples):
            return best
        limited = attack.standing or self.question.settings.columns == "standing"
        limit = best if limited else torch.full_like(best, len(self.radii))
        found = image_found(name, attack, samples, self.question.norm) if attack.minimal and samples.source else None
        if attack.minimal and found is None:
            standing = ((limit > 0) & (certain < len(self.radii))).nonzero().squeeze(1)
            if not len(standing):
                return limit
            distance, x_adv = breaking_distance(name, attack, samples[standing], self.question.norm)
            index = torch.searchsorted(self.radii.double() + BALL_TOLERANCE, distance)
            note(standing, index, x_adv)
            return limit.index_copy(0, standing, index.minimum(limit[standing]))

        if any(other.standing for other in self.question.attacks.values()):
            # Where an attack ends, even at a radius that is proven, another may begin.
            certain = torch.where(certain == len(self.radii), certain, torch.zeros_like(certain))
            ends[name] = samples.x.clone()

        def breaks_at(tried: Tensor, tried_index: Tensor) -> Bool[Tensor, " batch"]:
            unproven = tried_index >= certain[tried]
            chosen, radius_index = tried[unproven], tried_index[unproven]
            if not len(chosen):
                return torch.zeros_like(unproven)
            some, eps = samples[chosen], self.radii[radius_index]
            broken, x_adv = self._broken_at(name, attack, some, eps, None if found is None else found[chosen])
            note(chosen[broken], radius_index[broken], x_adv[broken])
            if name in ends:
                ends[name][chosen[~broken]] = x_adv[~broken]
            return unproven.masked_scatter(unproven, broken)

        return self.search(breaks_at, limit, best + 1 if attack.black_box else best)

    def _broken_at(
        self, name: str, attack: Attack, samples: Samples, eps: PerSample, found: Images | None
    ) -> tuple[Bool[Tensor, " batch"], Images]:
        """Which samples an attack breaks within one radius each, and its images; `found` are those of an attack without
        a radius on another model, whose changes are made that long."""
        if found is None:
            return broken_at(name, attack, samples, eps, self.question.norm)
        x_adv = as_far_as(eps, found, samples.x, self.question.norm)
        return samples.logits(x_adv).argmax(1) != samples.y, x_adv
