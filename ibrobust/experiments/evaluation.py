"""From a run on disk, or anybody's model, to a results file: shard by shard, so that a killed evaluation goes on."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from ibrobust.backends import peer_breaking_radii
from ibrobust.errors import BadInput
from ibrobust.experiments.subject import Subject
from ibrobust.robustness.breaking_radii import radii_that_break
from ibrobust.robustness.evidence import evidence_path, joined_evidence, load_evidence, save_evidence
from ibrobust.robustness.health import warned_of
from ibrobust.robustness.noisy_readings import readings_under_noise
from ibrobust.robustness.question import Execution, chosen_attacks, question
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.samples import looked_at, usable_samples
from ibrobust.robustness.settings import NATIVE, Settings
from ibrobust.robustness.storage import Results, joined, load_results, save_results
from ibrobust.robustness.work import Work, expected_work
from ibrobust.subjects.zoo import versions

_SHARD = 1000
"""Samples between two saves: what a killed evaluation loses at most."""


def evaluate_subject(
    subject: Subject,
    samples: tuple[int, int] | None,
    settings: Settings,
    execution: Execution,
    *,
    out: Path,
) -> tuple[Path, float | None]:
    """Attack the samples and save `out/<protocol>/<name>.parquet`; what is there with the same settings is kept.

    Args:
        samples: first and last + 1; all by default.

    Returns:
        The file, and the seconds that it took; None where it was there.

    Raises:
        BadInput: there are fewer samples, or `breaking_radii` refuses.
    """
    first, last = samples or (0, len(subject.test))
    if last > len(subject.test):
        raise BadInput(f"samples {last}: {subject.name} has {len(subject.test)} test samples")
    path = results_path(subject, settings, out, first=(first, last))
    if _stored(path, subject, settings, range(first, last)) and _has_images(path, execution):
        return path, None
    began = time.perf_counter()
    unfinished = path.parent / ".unfinished" / path.stem
    model = subject.model().to(execution.device)
    warned = _looked_at(subject, model, settings, slice(first, last))
    shards, places = [], []
    with _shown_work(subject.name, settings, last - first) as work:
        told = replace(execution, work=work)
        for rows in (range(start, min(start + _SHARD, last)) for start in range(first, last, _SHARD)):
            shard_path = unfinished / f"{rows.start}-{rows.stop}.parquet"
            shard = _stored(shard_path, subject, settings, rows)
            if shard and _has_images(shard_path, execution):
                work.leave_out(len(rows))
            else:
                shard = _attacked(subject, model, rows, settings, told)
                _save_shard(shard, shard_path)
            shards.append(shard)
            places.append(shard_path)
    whole = joined(shards)
    whole = replace(whole, card=whole.card.with_warnings(warned))
    if execution.kept != "none":
        parts = [load_evidence(evidence_path(shard_path))[0] for shard_path in places]
        save_evidence(joined_evidence(parts), whole.card, evidence_path(path))
    save_results(whole, path)
    shutil.rmtree(unfinished)
    return path, time.perf_counter() - began


def _save_shard(shard: Results, path: Path) -> None:
    """The images come first, so that results that are there have all of theirs."""
    if isinstance(shard, BreakingRadii) and shard.evidence is not None:
        save_evidence(shard.evidence, shard.card, evidence_path(path))
    save_results(shard, path)


def _has_images(results: Path, execution: Execution) -> bool:
    """Whether the images that are to be kept lie beside stored results."""
    return execution.kept == "none" or evidence_path(results).is_file()


@contextmanager
def _shown_work(name: str, settings: Settings, samples: int) -> Iterator[Work]:
    """The account of an evaluation, as a bar on a terminal: queries so far and those expected, the attack in work."""
    # A search finds an attack's radius in one or two runs of it; under noise it is run at every radius.
    walks = 1 if settings.view == "mean" else sum(radius > 0 for radius in settings.radii)
    with tqdm(desc=name, unit="q", unit_scale=True, disable=None) as bar:

        def tell(attack: str, done: int, left: float) -> None:
            bar.total = done + left
            bar.set_postfix_str(attack, refresh=False)
            bar.update(done - bar.n)

        yield expected_work(chosen_attacks(settings), samples, walks=walks, tell=tell)


def _looked_at(subject: Subject, model: nn.Module, settings: Settings, samples: slice) -> list[str]:
    """What is odd about the model: once for all shards, and not again where its record says it."""
    if subject.model_record.warnings is not None:
        return []
    split = subject.test[samples.start + looked_at(samples.stop - samples.start)]
    x, y, _ = usable_samples(split.x, split.y)
    return warned_of(model, x, y, noisy=settings.view != "mean")


def results_path(subject: Subject, settings: Settings, out: Path, *, first: tuple[int, int] = (0, 0)) -> Path:
    """Where the results of a subject are kept; `@A-B` marks samples from A up to B where A is not 0."""
    part = f"@{first[0]}-{first[1]}" if first[0] else ""
    return out / settings.label / f"{settings.file_stem(subject.name)}{part}.parquet"


def _attacked(subject: Subject, model: nn.Module, rows: range, settings: Settings, execution: Execution) -> Results:
    split = subject.test[rows.start : rows.stop]
    samples = usable_samples(split.x, split.y, torch.arange(rows.start, rows.stop))
    results: Results
    if settings.backend != NATIVE:
        results = peer_breaking_radii(model, samples, settings, execution)
    elif settings.view == "mean":
        results = radii_that_break(question(model, samples, settings, execution))
    else:
        results = readings_under_noise(question(model, samples, settings, execution))
    about = {
        "model": subject.model_record,
        "data": subject.data_record,
        "versions": versions(),
        "plugins": subject.plugins(settings),
    }
    return replace(results, card=results.card.model_copy(update=about))


def _stored(path: Path, subject: Subject, settings: Settings, samples: range) -> Results | None:
    """The results in a file if they are of exactly this model, these samples and settings, by this version."""
    if not path.is_file():
        return None
    results = load_results(path)
    card = results.card
    about = (subject.model_record, subject.data_record, versions(), subject.plugins(settings))
    same = (card.model, card.data, card.versions, card.plugins) == about and card.settings == settings
    return results if same and list(results.sample_N["sample"]) == list(samples) else None
