"""From runs on disk, or anybody's models, to a results file each: block by block, on as many workers as there are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ibrobust.errors import BadInput
from ibrobust.experiments.attacked_blocks import AttackedBlocks, task_of
from ibrobust.experiments.blocks import Block
from ibrobust.experiments.jobs import HERE, Place
from ibrobust.experiments.pace import FIRST
from ibrobust.experiments.pieces import Answer, results_of
from ibrobust.experiments.progress import NOBODY, Account, Watch
from ibrobust.experiments.subject import Subject
from ibrobust.experiments.unfinished import FOLDER, Gaps, Unfinished
from ibrobust.robustness.corruption_results import CorruptionResults
from ibrobust.robustness.evidence import Kept, evidence_path, joined_evidence, load_evidence, save_evidence
from ibrobust.robustness.lost_gradients import sentences_about_lost
from ibrobust.robustness.question import Execution, Proofs
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.samples import looked_at
from ibrobust.robustness.settings import NATIVE, Settings
from ibrobust.robustness.storage import AnyStored, joined, load_stored, save_results
from ibrobust.subjects.zoo import versions

_BLOCK_BYTES = 2**26
"""Images of a block at most, as they are stored: 400 of 3 × 224 × 224 in bytes. Several copies are held at times."""

_CORRUPTED, _CORRUPTED_BYTES, _IMAGES_EACH = 200, 2**28, 75
"""Samples under corruptions in a block at most, what their images may take, and how many each has."""


def evaluate_subject(
    subject: Subject,
    samples: tuple[int, int] | None,
    settings: Settings,
    execution: Execution,
    *,
    out: Path,
) -> tuple[Path, float | None]:
    """`evaluate_subjects` of one subject, in this process."""
    ((_, path, seconds),) = evaluate_subjects([subject], samples, settings, execution, out=out)
    return path, seconds


def evaluate_subjects(
    subjects: Sequence[Subject],
    samples: tuple[int, int] | None,
    settings: Settings,
    execution: Execution,
    *,
    out: Path,
    place: Place = HERE,
    watch: Watch = NOBODY,
) -> Iterator[tuple[Subject, Path, float | None]]:
    """Attack the samples of each and save `out/<protocol>/<name>.parquet`; what is there with the same settings is
    kept, and so is every finished block.

    Args:
        samples: first and last + 1; all by default.
        execution: its device, batches, kept images and proofs count.

    Returns:
        As they are finished: subject, file, and the seconds of work that it took in this call, summed over workers;
        None where it was there.

    Raises:
        BadInput: there are fewer samples, or `breaking_radii` refuses.
        RunFailed: after all others are done, with what failed.
    """
    pieces = [_piece(index, subject, samples, settings, execution, out) for index, subject in enumerate(subjects)]
    for piece in pieces:
        piece.watch = watch
    job = AttackedBlocks([task_of(subject, settings) for subject in subjects], execution)
    for index, (path, seconds) in results_of(pieces, job, place, watch=watch):
        yield subjects[index], path, seconds


def results_path(subject: Subject, settings: Settings, out: Path, *, first: tuple[int, int] = (0, 0)) -> Path:
    """Where the results of a subject are kept; `@A-B` marks samples from A up to B where A is not 0."""
    part = f"@{first[0]}-{first[1]}" if first[0] else ""
    return out / settings.label / f"{settings.file_stem(subject.name)}{part}.parquet"


def _piece(
    index: int, subject: Subject, samples: tuple[int, int] | None, settings: Settings, execution: Execution, out: Path
) -> "_Evaluation":
    first, last = samples or (0, len(subject.test))
    if subject.corrupted and not settings.corrupts:
        raise BadInput(
            f"protocol {settings.label!r}: the data {subject.data_record.name!r} holds corrupted images; take protocol "
            "corruptions, or one of them as FOLDER:fog:3"
        )
    if last > len(subject.test):
        raise BadInput(f"samples {last}: {subject.name} has {len(subject.test)} test samples")
    path = results_path(subject, settings, out, first=(first, last))
    rows = range(first, last)
    unfinished = Unfinished(path.parent / FOLDER / path.stem)
    proofs = execution.proofs if settings.backend == NATIVE and not settings.corrupts else "never"
    return _Evaluation(index, subject, rows, settings, execution.kept, path, unfinished, proofs)


@dataclass
class _Evaluation:
    """One results file in the making: a piece of work.

    Attributes:
        gaps: samples that no block was made of yet.
        blocks: those that are finished.
        warned: what is odd about the model.
        look: whether it is still to be looked at, for what is odd about it and for what it will take.
        looking: whether that is being done.
        proofs: whether samples' radii are certified first; until the model was looked at it may be `auto`.
    """

    index: int
    subject: Subject
    rows: range
    settings: Settings
    kept: Kept
    path: Path
    unfinished: Unfinished
    proofs: Proofs
    watch: Watch = NOBODY
    gaps: Gaps = field(default_factory=lambda: Gaps([]))
    blocks: list[range] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    look: bool = False
    looking: bool = False
    seconds: float | None = None

    @property
    def name(self) -> str:
        return self.subject.name

    @property
    def total(self) -> int:
        return len(self.rows)

    @property
    def left(self) -> int:
        return self.gaps.left

    def begin(self, account: Account) -> bool:
        there = self._stored(self.path, self.rows)
        if there is None:
            if not self.unfinished.hold():
                return False
            there = self._stored(self.path, self.rows)
        if there is not None:
            account.there(self.total, broken_samples(there))
            self.unfinished.remove()
            return True
        found: Iterator[tuple[range, AnyStored]] = self.unfinished.blocks(self.rows, self._stored)
        for rows, results in found:
            self.blocks.append(rows)
            account.there(len(rows), broken_samples(results))
        self.gaps = Gaps.between(self.rows, self.blocks)
        self.look = self.subject.model_record.warnings is None or self.left > FIRST or self.proofs == "auto"
        self.seconds = 0.0
        return True

    def next_item(self, size: int) -> Block | None:
        if self.look:
            self.look, self.looking = False, True
            return Block(self.index, self.rows, self.subject.test[self.rows.start + looked_at(self.total)], look=True)
        if self.looking and (self.left > FIRST or self.proofs == "auto"):
            return None  # A block whose size is a guess costs more than the wait.
        most = _most_corrupted(self.subject) if self.settings.corrupts else _most_held(self.subject)
        rows = self.gaps.take(min(size, most))
        if rows is None:
            return None
        ids, variants = self.subject.numbers(rows), self.subject.variants(rows)
        split, prove = self.subject.test[rows.start : rows.stop], self.proofs == "always"
        return Block(self.index, rows, split, ids=ids, variants=variants, prove=prove)

    def keep(self, item: Block, answer: Answer) -> int:
        assert self.seconds is not None
        if item.look:
            self.looking = False
            self.warned, choice = answer.result
            self._warn(self.warned)
            if choice:
                self.proofs = "always" if choice.prove else "never"
                self.watch.say(f"{self.name}: {choice.why}")
            return 0
        self.seconds += answer.seconds
        _save(answer.result, self.unfinished.path(item.rows))
        self.blocks.append(item.rows)
        return broken_samples(answer.result)

    def finish(self) -> tuple[Path, float | None]:
        if self.seconds is None:
            return self.path, None
        places = [self.unfinished.path(rows) for rows in sorted(self.blocks, key=lambda rows: rows.start)]
        whole = joined([load_stored(place) for place in places])
        lost = sentences_about_lost(whole.rows)
        self._warn([*lost, *((whole.card.warnings or []) if self.settings.corrupts else [])])
        whole = replace(whole, card=whole.card.with_warnings([*lost, *self.warned]))
        if self.kept != "none":
            parts = [load_evidence(evidence_path(place))[0] for place in places]
            save_evidence(joined_evidence(parts), whole.card, evidence_path(self.path))
        save_results(whole, self.path)
        self.unfinished.remove()
        return self.path, self.seconds

    def release(self) -> None:
        self.unfinished.release()

    def _warn(self, texts: list[str]) -> None:
        for text in texts:
            self.watch.warn(self.name, text)

    def _stored(self, path: Path, rows: range) -> AnyStored | None:
        """The results in a file if they are of exactly this model, these samples and settings, by this version, and
        have the images that are to be kept."""
        if not path.is_file() or not (self.kept == "none" or evidence_path(path).is_file()):
            return None
        results = load_stored(path)
        card = results.card
        about = (self.subject.model_record, self.subject.data_record, versions(), self.subject.plugins(self.settings))
        source = self.subject.source and self.subject.source.record
        same = (
            card.transfer == source
            and (card.model, card.data, card.versions, card.plugins) == about
            and card.settings == self.settings
        )
        return results if same and list(results.sample_N["sample"]) == self.subject.numbers(rows).tolist() else None


def _most_corrupted(subject: Subject) -> int:
    """Samples under corruptions in a block at most."""
    x = subject.test.x
    each = x.dtype.itemsize * int(np.prod(x.shape[1:])) * _IMAGES_EACH
    return max(1, min(_CORRUPTED, _CORRUPTED_BYTES // each))


def _most_held(subject: Subject) -> int:
    """Samples of a block at most, so that their images do not fill the memory however fast the model is."""
    x = subject.test.x
    return max(FIRST, _BLOCK_BYTES // (x.dtype.itemsize * int(np.prod(x.shape[1:]))))


def broken_samples(results: AnyStored) -> int:
    """How many are broken at the largest radius, those that are wrong without an attack among them; none where nothing
    is attacked."""
    if isinstance(results, CorruptionResults):
        return 0
    return int(np.count_nonzero(~results.robust_EN[-1]))


def _save(results: AnyStored, path: Path) -> None:
    """The images come first, so that results that are there have all of theirs."""
    if isinstance(results, BreakingRadii) and results.evidence is not None:
        save_evidence(results.evidence, results.card, evidence_path(path))
    save_results(results, path)
