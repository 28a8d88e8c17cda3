"""Which samples are taken where it is not the first ones: drawn at random, or class by class."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ibrobust.datasets import AnySplit, StoredSplit
from ibrobust.datasets.splits import StoredImages
from ibrobust.errors import BadInput, shortened
from ibrobust.experiments.subject import Subject
from ibrobust.robustness.storage import AnyResults, these_samples

KINDS = ("random", "stratified")


@dataclass(frozen=True)
class Selection:
    """Samples that are drawn without replacement.

    Attributes:
        kind: `random`, or `stratified` for samples that hold each class by its share, to within one.
    """

    kind: str
    count: int
    seed: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.count}:{self.seed}"

    def numbers(self, y: Tensor) -> NDArray[np.int64]:
        """The numbers, ascending, of the samples that are drawn from those with these labels, at most all of them."""
        labels = y.cpu().numpy()
        drawn_by = _random if self.kind == "random" else _stratified
        return np.sort(drawn_by(labels, min(self.count, len(labels)), self.seed))

    def in_front(self, y: Tensor) -> NDArray[np.int64]:
        """The numbers of all samples, those that are drawn first, ascending, and then the others in random order."""
        numbers, order = self.numbers(y), np.random.RandomState(self.seed).permutation(len(y))
        return np.concatenate([numbers, order[~np.isin(order, numbers)]])


def selection_of(sample: str) -> Selection:
    """What a text asks for: `random:N:SEED` or `stratified:N:SEED`, seed 0 where none is named.

    Raises:
        BadInput: the text says something else.
    """
    kind, _, rest = sample.partition(":")
    texts = rest.split(":")
    if kind not in KINDS or len(texts) > 2 or not all(_is_number(text) for text in texts) or not int(texts[0]):
        raise BadInput(
            f"sample {shortened(sample)!r}: write random:N:SEED or stratified:N:SEED, N from 1 on; seed 0 by default"
        )
    return Selection(kind, int(texts[0]), int(texts[1]) if len(texts) == 2 else 0)


def drawn(subject: Subject, selection: Selection) -> Subject:
    """The subject with some of its test samples, which keep their numbers; its data record says how they were drawn.

    Raises:
        BadInput: there are fewer samples.
    """
    ids = _ids(subject, selection)
    record = subject.data_record.model_copy(update={"sample": str(selection)})
    return replace(subject, test=_part(subject.test, ids), ids=ids, data_record=record)


def drawn_results(subject: Subject, results: AnyResults, selection: Selection) -> AnyResults:
    """The results of the samples that are drawn from all test samples of a subject.

    Raises:
        BadInput: there are fewer samples, or the results lack some.
    """
    try:
        return these_samples(results, _ids(subject, selection))
    except BadInput as error:
        wanted = f"evaluate it with that sample (--sample {selection})"
        raise BadInput(f"sample {selection}: {subject.name}: {error}; {wanted}") from error


def _ids(subject: Subject, selection: Selection) -> NDArray[np.int64]:
    if selection.count > len(subject.test):
        raise BadInput(f"sample {str(selection)!r}: {subject.name} has {len(subject.test)} test samples")
    return selection.numbers(subject.test.y)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text[:11]) < 2**32 and len(text) < 11


def _random(y: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    return np.random.RandomState(seed).permutation(len(y))[:count]  # its stream is frozen for all versions


def _stratified(y: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Each class's share, rounded down, and one more for the classes that lost most by it, the first where equal."""
    order = np.random.RandomState(seed).permutation(len(y))
    classes, sizes = np.unique(y, return_counts=True)
    share = sizes * count
    taken = share // len(y)
    most = np.argsort(-(share % len(y)), kind="stable")[: count - taken.sum()]
    taken[most] += 1
    return np.concatenate([order[y[order] == label][:number] for label, number in zip(classes, taken, strict=True)])


def _part(split: AnySplit, ids: NDArray[np.int64]) -> AnySplit:
    rows = torch.from_numpy(ids)
    if not isinstance(split, StoredSplit):
        return split[rows]
    x = split.x
    images = StoredImages((len(ids), *x.shape[1:]), x.dtype, partial(_rows_of, x, ids), x.files, x.made)
    return StoredSplit(images, split.y[rows])


def _rows_of(images: StoredImages, ids: NDArray[np.int64], rows: NDArray[np.int64]) -> Tensor:
    return images.read(ids[rows])
