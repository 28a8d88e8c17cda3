"""The order of a data set's samples: what `--samples N`, `--train-samples N` and every "first N" see of the classes."""

import numpy as np
from numpy.typing import NDArray

from ibrobust.datasets.splits import AnySplit

SPREAD = "spread over classes, seed 0"
"""What a card calls the order of `spread_over_classes`."""

_EXPECTED = 10
"""Samples of a class that the first N should hold by its share, where it is odd that they hold none: the chance that
samples in random order lack it is e^-10."""


def spread_over_classes(y: NDArray[np.int64]) -> NDArray[np.int64]:
    """A fixed order in which the first N samples, for every N, hold each class by its share in the whole, to within one
    sample or two; the order within a class is random.

    Args:
        y: labels, of samples sorted by class.
    """
    shuffled = np.random.RandomState(0).permutation(len(y))  # its stream is frozen for all versions
    labels = y[shuffled]
    share = np.empty(len(y))
    for label in np.unique(y):
        rows = labels == label
        share[rows] = (np.arange(rows.sum()) + 0.5) / rows.sum()
    return shuffled[np.argsort(share, kind="stable")]


def lacking_classes(y: NDArray[np.int64], first: int, last: int) -> list[int]:
    """Classes that none of the samples from `first` up to `last` is of, though by their share several should be: the
    samples are sorted by class, or nearly."""
    expected = np.bincount(y) * ((last - first) / max(1, len(y)))
    there = np.bincount(y[first:last], minlength=len(expected))
    return [int(label) for label in np.flatnonzero((there == 0) & (expected >= _EXPECTED))]


def sorted_samples(split: AnySplit, last: int, *, first: int = 0, part: str = "test") -> list[str]:
    """A sentence for the user where the samples from `first` up to `last` lack classes that they should hold."""
    lacking = lacking_classes(split.y.numpy(), first, min(last, len(split)))
    if not lacking:
        return []
    shown = ", ".join(map(str, lacking[:5])) + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
    classes = "classes" if len(lacking) > 1 else "class"
    return [f"no {part} sample from {first} up to {last} is of {classes} {shown}: the data is sorted; shuffle it"]
