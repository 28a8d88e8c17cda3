"""Whether images prove what results say, as far as that shows without the model: range, ball, radii, labels, curves."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibrobust.errors import BadInput
from ibrobust.robustness.card import ResultCard
from ibrobust.robustness.evidence_files import CLEAN, StoredEvidence
from ibrobust.robustness.results import BreakingRadii

DISTANCE_SLACK = 1e-6
"""How far beyond its radius an image may lie: twice the rounding of a float32 pixel, summed over an image."""

DISTANCES: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "linf": lambda change: np.abs(change).max(1),
    "l2": lambda change: np.sqrt(np.square(change).sum(1)),
    "l1": lambda change: np.abs(change).sum(1),
}
"""Length of a change of pixels, (rows, pixels) float64, by norm: written out here, so that a mistake in the attacks'
own distances would be seen."""

_ROWS = 512
"""Images that are looked at together, so that memory holds few of them in float64."""


def image_faults(evidence: StoredEvidence) -> list[str]:
    """One sentence, with the ids of its samples, for each way in which images are not what their rows say: pixels that
    are not finite or leave [0, 1], a distance beyond the radius, a change where there is to be none.

    Raises:
        BadInput: the norm is none that is measured here.
    """
    norm, rows = evidence.card.settings.norm, evidence.rows
    if norm not in DISTANCES:
        raise BadInput(f"no way to measure norm {norm!r} without its attacks; choose from {', '.join(DISTANCES)}")
    inside, near, alike = (np.ones(len(rows), bool) for _ in range(3))
    radius = rows["radius"].to_numpy(np.float64)
    for start in range(0, len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        images, originals = (
            pixels[part].reshape(len(pixels[part]), -1).astype(np.float64)
            for pixels in (evidence.images, evidence.originals)
        )
        inside[part] = ((images >= 0) & (images <= 1) & (originals >= 0) & (originals <= 1)).all(1)
        with np.errstate(invalid="ignore", over="ignore"):
            near[part] = DISTANCES[norm](images - originals) <= radius[part] + DISTANCE_SLACK
        alike[part] = (images == originals).all(1)
    return [
        *named("pixels outside [0, 1]", rows, ~inside),
        *named("beyond the radius", rows, ~near),
        *named("an unchanged image that is not the original", rows, ~alike & (rows["attack"] == CLEAN).to_numpy()),
    ]


def row_faults(rows: pd.DataFrame, claimed: BreakingRadii) -> list[str]:
    """Where radii, attacks and labels of evidence are not those of the results, and broken samples without an image."""
    stated = claimed.rows.set_index("sample")
    unknown = ~rows["sample"].isin(stated.index).to_numpy()
    if unknown.any():
        return named("not among the results", rows, unknown)
    at = stated.loc[rows["sample"]]
    column = [
        0.0 if attack == CLEAN and at["prediction"].iloc[row] != at["label"].iloc[row] else at[attack].iloc[row]
        if attack in claimed.attacks else np.nan
        for row, attack in enumerate(rows["attack"])
    ]  # fmt: skip
    apart = np.asarray(column, np.float32) != rows["radius"].to_numpy(np.float32)
    labels = at["label"].to_numpy() != rows["label"].to_numpy()
    smallest = rows.groupby("sample")["radius"].min()
    proven = smallest.reindex(stated.index).to_numpy(np.float32)
    said = claimed.all_attacks_N
    missing = np.isfinite(said) & ~(proven == said)
    faults = [
        *named("its radius is not that of the results", rows, apart),
        *named("its label is not that of the results", rows, labels),
    ]
    if missing.any():
        faults.append(f"no image proves the breaking radius of samples {_listed(stated.index.to_numpy()[missing])}")
    return faults


def curve_faults(rows: pd.DataFrame, claimed: BreakingRadii, curves: pd.DataFrame) -> list[str]:
    """Radii at which the curve of all attacks is not what the images prove.

    Args:
        curves: rows of `curves.csv` about these results.
    """
    smallest = rows.groupby("sample")["radius"].min().to_numpy()
    stated = curves[curves["attack"] == "all"]
    wrong = [
        f"{eps:g}: {robust:.4f}, and the images prove {share:.4f}"
        for eps, robust in stated[["eps", "robust"]].to_numpy()
        if abs((share := 1 - float((smallest <= np.float32(eps)).sum()) / len(claimed.rows)) - robust) > 1e-6
    ]
    more = f" and {len(wrong) - 1} more" if wrong[1:] else ""
    return [f"curves.csv differs at radius {wrong[0]}{more}"] if wrong else []


def named(what: str, rows: pd.DataFrame, flags: NDArray[np.bool_]) -> list[str]:
    """A sentence about the samples whose rows have the flag; none where no row has it."""
    ids = np.unique(rows["sample"].to_numpy()[flags])
    return [f"{what}: samples {_listed(ids)}"] if len(ids) else []


def same_claim(one: ResultCard, other: ResultCard) -> bool:
    """Whether two cards are of the same evaluation; what an audit found of it is left out."""
    left_out = {"verdict", "audit"}
    return one.model_dump(exclude=left_out) == other.model_dump(exclude=left_out)


def _listed(ids: NDArray[np.int64]) -> str:
    shown = ", ".join(str(number) for number in ids[:5])
    return f"[{shown}{', …' if len(ids) > 5 else ''}]"
