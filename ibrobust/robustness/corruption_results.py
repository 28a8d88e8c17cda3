"""The table of an evaluation under corruptions: for each sample, corruption and severity, the class that was given."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibrobust.errors import BadInput
from ibrobust.robustness.card import ResultCard
from ibrobust.robustness.results import Shown, about_samples

SEVERITIES = (1, 2, 3, 4, 5)
UNKNOWN = -1
"""The prediction on the clean image where there is no clean image."""


def column(corruption: str, severity: int) -> str:
    """The column of one corruption at one severity."""
    return f"{corruption}@{severity}"


@dataclass(frozen=True)
class CorruptionResults:
    """One model under corruptions.

    Attributes:
        rows: a row per sample: `sample`, `label`, `prediction` (clean; -1 where there are only corrupted images) and
            for each corruption and severity the predicted class, as `fog@3`.
        card: what was evaluated, and how the images were made.
    """

    rows: pd.DataFrame
    card: ResultCard

    @property
    def corruptions(self) -> list[str]:
        """Their names."""
        return list(self.card.corruptions.names) if self.card.corruptions else []

    @property
    def attacks(self) -> list[str]:
        """None."""
        return []

    @property
    def sample_N(self) -> pd.DataFrame:
        """A row per sample, as other results have it."""
        return about_samples(self.rows.assign(zero_gradient=False))

    @property
    def right_CSN(self) -> NDArray[np.bool_]:
        """Corruptions × severities × samples: is the image classified as its label?"""
        columns = [column(name, severity) for name in self.corruptions for severity in SEVERITIES]
        right = self.rows["label"].to_numpy() == self.rows[columns].to_numpy().T
        shaped: NDArray[np.bool_] = right.reshape(len(self.corruptions), len(SEVERITIES), -1)
        return shaped

    @property
    def accuracy_CS(self) -> NDArray[np.float64]:
        """Corruptions × severities."""
        accuracy: NDArray[np.float64] = self.right_CSN.mean(axis=2)
        return accuracy

    @property
    def clean(self) -> float:
        """Accuracy without corruption; NaN where there are only corrupted images."""
        known = (self.rows["prediction"] != UNKNOWN).all()
        return float((self.rows["prediction"] == self.rows["label"]).mean()) if known else math.nan

    @property
    def corruption_avg(self) -> float:
        """Mean accuracy over corruptions and severities."""
        return float(self.accuracy_CS.mean())

    def table(self) -> pd.DataFrame:
        """Long form: corruption, severity, n, accuracy."""
        return pd.DataFrame(
            [
                {"corruption": name, "severity": severity, "n": len(self.rows), "accuracy": accuracy}
                for name, accuracies in zip(self.corruptions, self.accuracy_CS.tolist(), strict=True)
                for severity, accuracy in zip(SEVERITIES, accuracies, strict=True)
            ]
        )

    def mce(self, reference_error: dict[str, float]) -> float:
        """Mean corruption error (Hendrycks & Dietterich 2019): each corruption's error as a share of a reference
        model's, on average over corruptions; 1 is the reference. The literature multiplies by 100.

        Raises:
            BadInput: the reference lacks a corruption, or makes no error on it.
        """
        errors = dict(zip(self.corruptions, (1 - self.accuracy_CS.mean(1)).tolist(), strict=True))
        for name in errors:
            if not reference_error.get(name, 0) > 0:
                raise BadInput(f"the reference has no error above 0 on the corruption {name!r}; mCE divides by it")
        return float(np.mean([error / reference_error[name] for name, error in errors.items()]))

    @property
    def shown(self) -> Shown:
        """What a terminal and a notebook show."""
        table = pd.DataFrame(self.accuracy_CS, index=self.corruptions, columns=list(SEVERITIES))
        clean = "" if math.isnan(self.clean) else f"clean {self.clean:.3f}, "
        about = f"{clean}corrupted {self.corruption_avg:.3f} on average, n {len(self.rows)}"
        return Shown(table, about, self.card.every_warning)

    def __str__(self) -> str:
        return self.shown.text

    def _repr_html_(self) -> str:
        return self.shown.html
