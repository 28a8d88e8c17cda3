"""From runs on disk, or anybody's models, to verdicts kept in the results they are about: check by check.

An audit is not cut into blocks of samples: a check's radius, thresholds and medians are of all samples together. It is
cut into its checks; each is kept as soon as it is finished. What it is about is evaluated before, block by block.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from ibrobust.checks import CHECKS, Case, Finding
from ibrobust.errors import RunFailed
from ibrobust.experiments.auditing import Audit
from ibrobust.experiments.checked_claims import LOOK, CheckedClaims, Checks, Claimed
from ibrobust.experiments.evaluation import evaluate_subjects
from ibrobust.experiments.jobs import HERE, Place, require_no_failures
from ibrobust.experiments.pieces import Answer, results_of
from ibrobust.experiments.progress import NOBODY, Account, Watch
from ibrobust.experiments.selection import Selection, drawn, drawn_results
from ibrobust.experiments.stored_claims import stored_claim
from ibrobust.experiments.subject import Subject
from ibrobust.experiments.unfinished import FOLDER, Unfinished
from ibrobust.files import written_whole
from ibrobust.plugins import digests_of
from ibrobust.robustness.findings import results_digest
from ibrobust.robustness.question import Execution
from ibrobust.robustness.settings import Settings
from ibrobust.robustness.storage import Results, first_samples, load_results, save_results
from ibrobust.subjects.zoo import Run, versions

_TOGETHER = ("fgsm-gap", "square", "strict")
"""Checks that rest on the same attacks, which are run once where one worker does all of them."""


@dataclass(frozen=True)
class Audited:
    """One audit and where it is kept; `told` says in words which of the stored results it is about."""

    subject: Subject
    audit: Audit
    results: Results
    told: str


class ToAudit(NamedTuple):
    """What is to be audited.

    Attributes:
        twin: the same model without its regulariser, where there is one.
        settings: eps, seed, search and restarts matter only where there are no results yet; their columns say which
            results are audited where there are own and standing ones (`with_stored_columns`).
        told: in words, which of the stored results that is about.
    """

    subject: Subject
    twin: Run | None
    settings: Settings
    told: str = ""


def audit_subjects(
    claims: Sequence[ToAudit],
    *,
    device: str,
    samples: int,
    out: Path,
    selection: Selection | None = None,
    place: Place = HERE,
    watch: Watch = NOBODY,
) -> Iterator[Audited]:
    """Audit the stored results of each on their first samples; where there are none, those are evaluated first.

    The verdict and its findings go into the card of the results, which are given back beside the audit; `save_findings`
    makes the verdict count.

    Args:
        samples: how many of the first samples are audited.
        selection: draws the samples that are audited instead, from all test samples.
        out: the folder of results.
        watch: told how the evaluation goes, and then how the checks go.

    Raises:
        BadInput: as `evaluate_subjects`; or results that are there lack samples that are drawn.
        RunFailed: after all others are done, with what failed.
    """
    questions = [(drawn(claim.subject, selection) if selection else claim.subject, claim.settings) for claim in claims]
    evaluate = partial(evaluate_subjects, out=out, place=place, watch=watch)
    failures = _evaluated(questions, samples, device, out, evaluate)
    pieces: list[_Piece] = []
    for subject, twin, settings, told in claims:
        if stored := stored_claim(subject, settings, out):
            path, results = stored
            some = drawn_results(subject, results, selection) if selection else first_samples(results, samples)
            how = str(selection) if selection else None
            pieces.append(_Piece(len(pieces), subject, path, results, some, how, twin, told, watch))
    job = CheckedClaims([piece.task() for piece in pieces], device)
    try:
        for _, audited in results_of(pieces, job, place, watch=watch, unit="checks"):
            yield audited
    except RunFailed as failure:
        failures.append(failure)
    require_no_failures(failures, of=1)


def _evaluated(
    questions: Sequence[tuple[Subject, Settings]],
    samples: int,
    device: str,
    out: Path,
    evaluate: Callable[..., Iterator[Any]],
) -> list[RunFailed]:
    """Evaluate what has no results yet, all of the same settings at a time; what failed."""
    alike: dict[tuple[str, int], tuple[Settings, list[Subject]]] = {}
    for subject, settings in questions:
        if not stored_claim(subject, settings, out):
            count = min(samples, len(subject.test))
            alike.setdefault((settings.model_dump_json(), count), (settings, []))[1].append(subject)
    failures = []
    for (_, count), (settings, subjects) in alike.items():
        try:
            list(evaluate(subjects, (0, count), settings, Execution(device=device)))
        except RunFailed as failure:
            failures.append(failure)
    return failures


@dataclass
class _Piece:
    """One audit in the making: a piece of work.

    Attributes:
        claim: of the results, those of the samples that are audited.
        sample: how these were drawn; None where they are the first.
    """

    index: int
    subject: Subject
    path: Path
    results: Results
    claim: Results
    sample: str | None
    twin: Run | None
    told: str
    watch: Watch
    waiting: list[tuple[str, ...]] = field(default_factory=list)
    answers: dict[str, list[Any]] = field(default_factory=dict)
    unfinished: Unfinished = field(init=False)

    def __post_init__(self) -> None:
        self.unfinished = Unfinished(self.path.parent / FOLDER / f"{self.path.stem}.audit")

    @property
    def name(self) -> str:
        return self.subject.name

    @property
    def total(self) -> int:
        return sum(map(len, self._groups()))

    @property
    def left(self) -> int:
        return sum(map(len, self.waiting))

    def task(self) -> Claimed:
        split = self.subject.test[torch.tensor(self.claim.sample_N["sample"].to_numpy())]
        return Claimed(self.subject.model, self.claim, split, self.twin.model if self.twin else None)

    def begin(self, account: Account) -> bool:
        if not self.unfinished.hold():
            return False
        for names in self._groups():
            answer = self._stored(names)
            if answer is None:
                self.waiting.append(names)
            else:
                self.answers["+".join(names)] = answer
                account.there(len(names), 0)
        return True

    def next_item(self, _size: int) -> Checks | None:
        return Checks(self.index, self.waiting.pop(0)) if self.waiting else None

    def keep(self, item: Checks, answer: Answer) -> int:
        self.answers[item.key] = answer.result
        with written_whole(self._file(item.names)) as unfinished:
            unfinished.write_text(json.dumps({"about": self._about, "answer": answer.result}), encoding="utf-8")
        return 0

    def finish(self) -> Audited:
        warned = self.answers.pop(LOOK, [])
        for text in warned:
            self.watch.warn(self.name, text)
        found = {finding["name"]: Finding(**finding) for answer in self.answers.values() for finding in answer}
        radius = Case(nn.Identity(), torch.empty(0, 1, 1, 1), torch.empty(0, dtype=torch.int64), self.claim).radius
        findings = [found[name] for name in CHECKS if name in found]
        audit = Audit(self.claim, radius, findings, warned, self.sample)
        judged = self.results.card.model_copy(update={"verdict": audit.verdict, "audit": audit.record})
        if results_digest(load_results(self.path)) != results_digest(self.results):
            raise RunFailed(f"{self.path} was changed while it was audited; audit it again")
        results = replace(self.results, card=judged)
        save_results(results, self.path)
        self.unfinished.remove()
        return Audited(self.subject, audit, results, self.told)

    def release(self) -> None:
        self.unfinished.release()

    @property
    def _about(self) -> str:
        """What findings depend on."""
        twin = self.twin.card.weights_sha256 if self.twin else None
        plugins = digests_of(("check", name) for name in CHECKS)
        samples = self.claim.sample_N["sample"].tolist()
        about = (results_digest(self.results), samples, twin, plugins, versions())
        return hashlib.sha256(repr(about).encode()).hexdigest()

    def _file(self, names: tuple[str, ...]) -> Path:
        return self.unfinished.folder / f"{'+'.join(names)}.json"

    def _stored(self, names: tuple[str, ...]) -> list[Any] | None:
        try:
            stored = json.loads(self._file(names).read_text(encoding="utf-8"))
            return list(stored["answer"]) if stored["about"] == self._about else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _groups(self) -> list[tuple[str, ...]]:
        """What is done as one item, in the order in which an audit asks."""
        together = tuple(name for name in CHECKS if name in _TOGETHER)
        look = [(LOOK,)] if self.subject.health == "check" else []
        return [*look, *dict.fromkeys(together if name in together else (name,) for name in CHECKS)]
