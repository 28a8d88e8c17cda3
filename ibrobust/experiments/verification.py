"""Does the evidence prove what the results say? Recomputed from the images and the model alone; no attack is needed."""

import copy
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from ibrobust.errors import BadInput, shortened
from ibrobust.images import frozen
from ibrobust.models.answers import logits_in
from ibrobust.robustness.evidence import ANSWERS, CLEAN, Evidence, evidence_of, evidence_path
from ibrobust.robustness.evidence_files import read_evidence
from ibrobust.robustness.proofs import curve_faults, image_faults, named, row_faults, same_claim
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.settings import Settings
from ibrobust.robustness.storage import load_results
from ibrobust.robustness.targeted import target_classes
from ibrobust.types import Images, Logits

TIE = 1e-5
"""Share of the largest logit below which the gap between two logits is rounding: kernels differ in their last bits."""

_PROBABILITY_SLACK = 1e-4
"""By how much a probability may differ from what was written when the image was kept, beside rounding of logits."""

_BATCH = 256


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
        raise BadInput(f"{results}: no images beside it ({path}); evaluate it with keep_images (--keep-images)")
    stored = read_evidence(path)
    evidence, card, rows = evidence_of(stored), stored.card, stored.rows
    outside = image_faults(stored)
    right, only_float32, ties, misquoted = _classified(evidence, model)
    missed = _missed_targets(evidence, model, card.settings) & ~ties
    faults = [
        *outside,
        *named("classified as its label", rows, right.numpy()),
        *named("not classified as its row says", rows, misquoted.numpy()),
        *named("not classified as its target", rows, missed.numpy()),
        *row_faults(rows, claimed),
        *([] if curves is None else curve_faults(rows, claimed, curves)),
    ]
    if (stated := card.model and card.model.weights_sha256) and stated != weights_sha256:
        faults.insert(0, "the images were made for other weights than the model's (SHA-256 differs)")
    if not same_claim(card, claimed.card):
        faults.insert(0, "the images' card is not that of the results")
    settings = claimed.card.settings
    broken = evidence.rows["sample"].nunique()
    counted = (int(only_float32.sum()), int(ties.sum()))
    return Verification(claimed.card.run, settings.label, settings.norm, len(claimed.rows), broken, *counted, faults)


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


def _missed_targets(evidence: Evidence, model: nn.Module, settings: Settings) -> Tensor:
    """Which images are not classified as the target that their attack had."""
    if settings.target_class is None:
        return torch.zeros(len(evidence), dtype=torch.bool)
    label, ids = (torch.from_numpy(evidence.rows[name].to_numpy().copy()) for name in ("label", "sample"))
    target = target_classes(settings.target_class, settings.seed, _logits(model, evidence.originals), label, ids)
    unchanged = torch.from_numpy((evidence.rows["attack"] == CLEAN).to_numpy().copy())
    return (_logits(model, evidence.images).argmax(1) != target) & ~unchanged


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
