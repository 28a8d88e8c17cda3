"""Which samples of the test part are evaluated where it is not the first ones: drawn at random, or class by class."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ibrobust.datasets import AnySplit, StoredSplit
from ibrobust.datasets.splits import StoredImages
from ibrobust.errors import BadInput, shortened
from ibrobust.experiments.subject import Subject


def drawn(subject: Subject, sample: str) -> Subject:
    """The subject with some of its test samples, which keep their numbers; its data record says how they were drawn.

    Args:
        sample: `random:N:SEED`, N samples without replacement; `stratified:N` or `stratified:N:SEED`, N samples that
            hold each class by its share in the test part, to within one. Seed 0 where none is named.

    Raises:
        BadInput: the text says something else, or there are fewer samples.
    """
    kind, _, rest = sample.partition(":")
    texts = rest.split(":")
    if kind not in ("random", "stratified") or len(texts) > 2 or not all(_is_number(text) for text in texts):
        raise BadInput(f"sample {shortened(sample)!r}: write random:N:SEED or stratified:N:SEED; seed 0 by default")
    count, seed = int(texts[0]), int(texts[1]) if len(texts) == 2 else 0
    if not 1 <= count <= len(subject.test):
        raise BadInput(f"sample {sample!r}: {subject.name} has {len(subject.test)} test samples")
    chosen = _random if kind == "random" else _stratified
    ids = np.sort(chosen(subject.test.y.numpy(), count, seed))
    record = subject.data_record.model_copy(update={"sample": f"{kind}:{count}:{seed}"})
    return replace(subject, test=_part(subject.test, ids), ids=ids, data_record=record)


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
