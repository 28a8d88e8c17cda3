"""What is certain beside what attacks leave: certified radii by sample, and the lower end of every robust share."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibrobust.errors import BadInput
from ibrobust.robustness.card import ResultCard
from ibrobust.robustness.storage import Results
from ibrobust.tables import read_table

CERTIFIED_SAMPLES = "certified_samples.csv"
"""In a folder of results, a row per certified sample: run, model, sample, certified."""

SharesE = NDArray[np.float64]
"""The certain share of a result's samples at each of its radii."""

Certain = Sequence[SharesE | None]
"""For each result the share of its samples that is certain at each radius, or None; empty where none is certified."""


def model_digest(card: ResultCard) -> str:
    """Sixteen hexadecimal digits that say which weights and code on which data a card is about."""
    model, data = card.model, card.data
    about = (model and model.weights_sha256, model and model.code_sha256, data and data.fingerprint)
    return hashlib.sha256(repr(about).encode()).hexdigest()[:16]


def certified_shares(results: Results, folders: Sequence[Path]) -> SharesE | None:
    """The share of all samples of a result that is certain at each radius, a lower bound of the true robust share.

    A sample that nobody has certified counts as not certain. Certificates of another model or of other data under the
    same name do not count.

    Args:
        folders: those that may hold `CERTIFIED_SAMPLES`.

    Returns:
        None where no sample of the result has been certified, or nothing can be: with noise, and in other norms.

    Raises:
        BadInput: a file is no table of certified radii.
    """
    settings = results.card.settings
    if (settings.norm, settings.view) != ("linf", "mean"):
        return None
    tables = [
        read_certified(folder / CERTIFIED_SAMPLES) for folder in folders if (folder / CERTIFIED_SAMPLES).is_file()
    ]
    theirs = [table[table["model"].astype(str) == model_digest(results.card)] for table in tables]
    radius_of = pd.concat(theirs).groupby("sample")["certified"].max() if theirs else pd.Series(dtype=float)
    certified_N = results.sample_N["sample"].map(radius_of)
    if certified_N.isna().all():
        return None
    at_least = certified_N.fillna(0).to_numpy(dtype=np.float32)[None, :] >= results.radii_E[:, None]
    correct_N = np.asarray(results.correct_N)
    shares: SharesE = (at_least & correct_N).mean(1)
    return shares


def beside(results: Sequence[Results], certain: Certain) -> list[tuple[Results, SharesE | None]]:
    """Results, each with its certain shares."""
    return list(zip(results, certain or [None] * len(results), strict=True))


def proven_by_id(certified_N: NDArray[np.float32] | None, id_N: Sequence[int]) -> dict[int, float] | None:
    """Certified radii by the samples' numbers; of several samples of one number, the smallest.

    Raises:
        BadInput: there is not one for each sample.
    """
    if certified_N is None:
        return None
    if np.shape(certified_N) != (len(id_N),):
        shape = np.shape(certified_N)
        raise BadInput(f"certified has shape {shape}; it is a radius for each of {len(id_N)} samples")
    found: dict[int, float] = {}
    for sample, radius in zip(id_N, certified_N, strict=True):
        found[sample] = min(found.get(sample, np.inf), float(radius))
    return found


def read_certified(path: Path) -> pd.DataFrame:
    """A table of certified radii.

    Raises:
        BadInput: the file cannot be read, or is none.
    """
    return read_table(path, columns=["run", "model"], numbers=["sample", "certified"], dtype={"model": str})
