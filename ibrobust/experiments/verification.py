"""Does the evidence prove what the results say? Recomputed from the images and the model alone; no attack is needed."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ibrobust.errors import BadInput, shortened
from ibrobust.images import frozen
from ibrobust.models.answers import logits_in
from ibrobust.robustness.evidence import ANSWERS, CLEAN, Evidence, evidence_path, load_evidence
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.storage import load_results
from ibrobust.types import Images, Logits, PerSample

DISTANCE_SLACK = 1e-6
"""How far beyond its radius an image may lie: twice the rounding of a float32 pixel, summed over an image."""
TIE = 1e-5
"""Share of the largest logit below which the gap between two logits is rounding: kernels differ in their last bits."""

_PROBABILITY_SLACK = 1e-4
"""By how much a probability may differ from what was written when the image was kept, beside rounding of logits."""

_BATCH = 256

DISTANCES: dict[str, Callable[[Tensor], PerSample]] = {
    "linf": lambda change: change.abs().amax(1),
    "l2": lambda change: change.square().sum(1).sqrt(),
    "l1": lambda change: change.abs().sum(1),
}
"""Length of a change of pixels, (rows, pixels) float64, by norm: written out here, so that a mistake in the attacks'
own distances would be seen."""


@dataclass(frozen=True)
class Verification:
    """What became of one result's claims.

    Attributes:
        samples: how many the result is about; `broken` of them have an image or are misclassified unchanged.
        only_float32: images that are misclassified in float32 and not in float64.
        ties: images whose two largest logits are equal but for rounding, so that kernels may decide either way.
        faults: one sentence for each kind of claim that does not hold, with the ids of its samples.
    """

    run: str
    protocol: str
    norm: str
    samples: int
    broken: int
    only_float32: int
    ties: int
    faults: list[str]

    def __str__(self) -> str:
        about = f"{self.run}, {self.protocol}, {self.norm}: {self.broken} of {self.samples} samples proven broken"
        only = f", {self.only_float32} of them in float32 only" if self.only_float32 else ""
        ties = f", {self.ties} at a tie" if self.ties else ""
        return f"{about}{only}{ties}: {'; '.join(self.faults) or 'holds'}"


def verified(results: Path, model: nn.Module, weights_sha256: str | None, curves: pd.DataFrame | None) -> Verification:
    """Recompute one result's claims from its images and the model.

    Args:
        results: the results file; its evidence lies where `evidence_path` says.
        weights_sha256: the digest of the model's weights, compared with the evidence's.
        curves: rows of `curves.csv` of this result, compared with what the images prove; None where there are none.

    Raises:
        BadInput: a file cannot be read, there are no images, or the model cannot take them.
    """
    claimed = load_results(results)
    path = evidence_path(results)
    if not isinstance(claimed, BreakingRadii):
        raise BadInput(f"{results}: results under noise are shares, which no single image proves")
    if not path.is_file():
        raise BadInput(f"{results}: no images beside it ({path}); evaluate it with --keep-images")
    evidence, card = load_evidence(path)
    outside = _outside(evidence, card.settings.norm)
    right, only_float32, ties, misquoted = _classified(evidence, model)
    faults = [
        *_named("pixels outside [0, 1]", evidence, outside["range"]),
        *_named("beyond the radius", evidence, outside["ball"]),
        *_named("an unchanged image that is not the original", evidence, outside["clean"]),
        *_named("classified as its label", evidence, right),
        *_named("not classified as its row says", evidence, misquoted),
        *_disagreements(evidence, claimed),
        *([] if curves is None else _curve_faults(evidence, claimed, curves)),
    ]
    if (stated := card.model and card.model.weights_sha256) and stated != weights_sha256:
        faults.insert(0, "the images were made for other weights than the model's (SHA-256 differs)")
    if card.model_dump(exclude={"verdict", "audit"}) != claimed.card.model_dump(exclude={"verdict", "audit"}):
        faults.insert(0, "the images' card is not that of the results")
    settings = claimed.card.settings
    broken = evidence.rows["sample"].nunique()
    counted = (int(only_float32.sum()), int(ties.sum()))
    return Verification(claimed.card.run, settings.label, settings.norm, len(claimed.rows), broken, *counted, faults)


def _outside(evidence: Evidence, norm: str) -> dict[str, Tensor]:
    """Which images are not finite or leave [0, 1], leave their ball, or differ though they are to be unchanged."""
    images, originals = (pixels.flatten(1).double() for pixels in (evidence.images, evidence.originals))
    if norm not in DISTANCES:
        raise BadInput(f"no way to measure norm {norm!r} without its attacks; choose from {', '.join(DISTANCES)}")
    radius = torch.from_numpy(evidence.rows["radius"].to_numpy(np.float64).copy())
    clean = torch.from_numpy((evidence.rows["attack"] == CLEAN).to_numpy().copy())
    return {
        "range": ~((images >= 0) & (images <= 1) & (originals >= 0) & (originals <= 1)).all(1),
        "ball": ~(DISTANCES[norm](images - originals) <= radius + DISTANCE_SLACK),
        "clean": clean & (images != originals).any(1),
    }


def classified_right(model: nn.Module, images: Images, labels: "pd.Series[int]") -> Tensor:
    """Which images the model, on its own device and in the images' precision, classifies as their labels."""
    return _logits(model, images).argmax(1) == torch.from_numpy(labels.to_numpy().copy())


def _classified(evidence: Evidence, model: nn.Module) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Which images are classified as their label and no tie, which in float64 alone, which are ties, and which are
    classified as another class than their row says and no tie."""
    logits = _logits(model, evidence.images)
    right = logits.argmax(1) == torch.from_numpy(evidence.rows["label"].to_numpy().copy())
    double = copy.deepcopy(model).double()
    right_in_double = classified_right(double, evidence.images.double(), evidence.rows["label"])
    two = logits.topk(2, dim=1).values
    tie = two[:, 0] - two[:, 1] <= TIE * logits.abs().amax(1)
    return right & ~tie, ~right & right_in_double, tie, _misquoted(evidence, logits, model) & ~tie & ~right


def _misquoted(evidence: Evidence, logits: Logits, model: nn.Module) -> Tensor:
    """Whose class or probabilities are not what their row says; what is within rounding of the logits is."""
    if ANSWERS[0] not in evidence.rows:
        return torch.zeros(len(logits), dtype=torch.bool)
    said = {name: torch.from_numpy(evidence.rows[name].to_numpy().copy()) for name in ("label", *ANSWERS)}
    originally = _logits(model, evidence.originals)
    label = said["label"].clamp(0, logits.shape[1] - 1)[:, None]
    apart = said["prediction"] != logits.argmax(1)
    for name, source, place in (
        ("probability", logits, logits.argmax(1)[:, None]),
        ("label_probability", logits, label),
        ("original_probability", originally, label),
    ):
        found = source.double().softmax(1).gather(1, place).squeeze(1)
        apart |= (found - said[name]).abs() > _PROBABILITY_SLACK + 2 * TIE * source.abs().amax(1)
    return apart


def _logits(model: nn.Module, x: Images) -> Tensor:
    device = next((parameter.device for parameter in model.parameters()), x.device)
    starts = range(0, max(len(x), 1), _BATCH)  # Of no images there is one empty batch.
    try:
        with frozen(model), torch.no_grad():
            return torch.cat([logits_in(model(x[start : start + _BATCH].to(device)))[0].cpu() for start in starts])
    except Exception as error:
        raise BadInput(f"the model raised on the images of the evidence: {shortened(str(error))}") from error


def _disagreements(evidence: Evidence, claimed: BreakingRadii) -> list[str]:
    """Where radii, attacks and labels are not those of the results, and broken samples without an image."""
    rows = evidence.rows
    stated = claimed.rows.set_index("sample")
    unknown = ~rows["sample"].isin(stated.index).to_numpy()
    if unknown.any():
        return _named("not among the results", evidence, torch.from_numpy(unknown))
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
        *_named("its radius is not that of the results", evidence, torch.from_numpy(apart)),
        *_named("its label is not that of the results", evidence, torch.from_numpy(labels)),
    ]
    if missing.any():
        faults.append(f"no image proves the breaking radius of samples {_listed(stated.index.to_numpy()[missing])}")
    return faults


def _curve_faults(evidence: Evidence, claimed: BreakingRadii, curves: pd.DataFrame) -> list[str]:
    """Radii at which the curve of all attacks is not what the images prove."""
    smallest = evidence.rows.groupby("sample")["radius"].min().to_numpy()
    stated = curves[curves["attack"] == "all"]
    wrong = [
        f"{eps:g}: {robust:.4f}, and the images prove {share:.4f}"
        for eps, robust in stated[["eps", "robust"]].to_numpy()
        if abs((share := 1 - float((smallest <= np.float32(eps)).sum()) / len(claimed.rows)) - robust) > 1e-6
    ]
    more = f" and {len(wrong) - 1} more" if wrong[1:] else ""
    return [f"curves.csv differs at radius {wrong[0]}{more}"] if wrong else []


def _named(what: str, evidence: Evidence, flags: Tensor) -> list[str]:
    ids = np.unique(evidence.rows["sample"].to_numpy()[flags.numpy()])
    return [f"{what}: samples {_listed(ids)}"] if len(ids) else []


def _listed(ids: NDArray[np.int64]) -> str:
    shown = ", ".join(str(number) for number in ids[:5])
    return f"[{shown}{', …' if len(ids) > 5 else ''}]"
