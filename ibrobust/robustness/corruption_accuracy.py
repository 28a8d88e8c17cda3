"""What a model answers on corrupted images: those of a folder, or those made from clean images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import pandas as pd
import torch
from torch import Tensor, nn

from ibrobust.attacks import Victim, victim
from ibrobust.attacks.contract import check_finite
from ibrobust.attacks.filling import needed_filling
from ibrobust.images import as_images
from ibrobust.models.calls import undisturbed
from ibrobust.randomness import sample_draw
from ibrobust.robustness.card import ResultCard
from ibrobust.robustness.card_records import CorruptionRecord
from ibrobust.robustness.corrupted_images import bytes_of, corrupted, library_words, possible_corruptions
from ibrobust.robustness.corruption_results import SEVERITIES, UNKNOWN, CorruptionResults, column
from ibrobust.robustness.first_queries import models_fault
from ibrobust.robustness.question import Execution, Question, make_question, summed, warnings_about
from ibrobust.robustness.samples import Arrays, LabelledData, Samples, usable_samples
from ibrobust.robustness.settings import Settings, make_settings

CORRUPTED = "corrupted images"
"""What a card calls the queries on them."""
FROM_FILES = "read from files"

Variants = Mapping[str, Tensor]
"""By column, as `fog@3`, the images of all samples under one corruption."""


@undisturbed()
def corruption_accuracy(
    model: nn.Module,
    x: Arrays | LabelledData,
    y: Arrays | None = None,
    *,
    seed: int = 0,
    ids: Arrays | None = None,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    health: str = "check",
) -> CorruptionResults:
    """Accuracy under the fifteen common corruptions at five severities, made from the images (extra `corruptions`).

    Corruptions are made of 8-bit images; floats are rounded to them first. Images that are too small for some
    corruptions have the others, and a warning in the card names what is left out.

    Args:
        seed: of the corruptions' random numbers.
        model, x, y, ids, batch_size, device, health: as `breaking_radii` takes them.

    Raises:
        BadInput: an argument cannot be used, the model is refused, or the library is not installed.
    """
    settings = make_settings({"protocol": "corruptions", "seed": seed})
    samples, execution = usable_samples(x, y, ids), Execution(batch_size, device)
    question = make_question(model, samples, settings, execution, attacks={})
    warned = warnings_about(question, health)
    results = corruption_results(model, samples, settings, execution)
    return replace(results, card=results.card.with_warnings(warned))


def corruption_results(
    model: nn.Module, samples: Samples, settings: Settings, execution: Execution, variants: Variants | None = None
) -> CorruptionResults:
    """The answers on all corruptions.

    Args:
        samples: the clean images; where there are none, any of the corrupted ones.
        variants: the corrupted images, where they are not to be made.
    """
    question = make_question(model, samples, settings, execution, attacks={})
    height, width = samples.x.shape[2:]
    if variants is None:
        names, left_out = possible_corruptions(height, width)
        record = CorruptionRecord(names=names, made=library_words())
    else:
        names, left_out = list(dict.fromkeys(name.partition("@")[0] for name in variants)), []
        record = CorruptionRecord(names=names, made=FROM_FILES)
    made = (
        _made(samples, settings.seed) if variants is None else lambda name, severity: variants[column(name, severity)]
    )
    rows, queries = _answers(question, names, made, clean=variants is None)
    card = ResultCard(
        settings=settings, attacks={}, queries=summed(queries), corruptions=record, warnings=left_out or None
    )
    return CorruptionResults(rows, card)


def _given(variants: Variants) -> Callable[[str, int], Tensor]:
    return lambda name, severity: variants[column(name, severity)]


def _made(samples: Samples, seed: int) -> Callable[[str, int], Tensor]:
    x = bytes_of(samples.x).cpu()
    return lambda name, severity: corrupted(x, samples.ids, name, severity, seed=seed)


def _answers(
    question: Question, names: Sequence[str], images: Callable[[str, int], Tensor], *, clean: bool
) -> tuple[pd.DataFrame, list[dict[str, dict[str, int]]]]:
    """Predicted classes by column, and the queries that they took."""
    samples = question.samples
    columns = {"sample": samples.ids, "label": samples.y}
    with question.blocks(), question.work.of(CORRUPTED, len(samples.x)):
        plain = _Asking(question, "clean")
        columns["prediction"] = plain(samples.x) if clean else torch.full_like(samples.y, UNKNOWN)
        distorted = _Asking(question, "corrupted")
        for name in names:
            for severity in SEVERITIES:
                columns[column(name, severity)] = distorted(images(name, severity))
    rows = pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()})
    return rows, [{"clean": plain.account, CORRUPTED: distorted.account}]


class _Asking:
    """Predictions of a model that is frozen meanwhile, and the account of what they took."""

    def __init__(self, question: Question, stream: str) -> None:
        self.question, self.stream = question, stream
        self.account: dict[str, int] = {"forward": 0, "gradient": 0, "filled": 0}
        with models_fault("the model raised on random images"):
            shape = tuple(question.samples.x.shape[1:])
            self.filling = needed_filling(question.seen, shape, question.batch_size, question.device)

    def __call__(self, x: Tensor) -> Tensor:
        found = []
        for start in range(0, len(x), self.question.batch_size):
            rows = slice(start, start + self.question.batch_size)
            ids = self.question.samples.ids[rows].to(self.question.device)
            draw = sample_draw(self.question.settings.seed, ids).fold(self.stream)
            seen: Victim = victim(self.question.seen, draw, batch_size=self.question.batch_size, filling=self.filling)
            with models_fault(f"the model raised on {self.stream} images"):
                logits = seen.logits(as_images(x[rows].to(self.question.device)))
            check_finite(logits, ids)
            found.append(logits.argmax(1).cpu())
            for kind, count in asdict(seen.queries).items():
                self.account[kind] += count
        return torch.cat(found)
