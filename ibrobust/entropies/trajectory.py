"""Information during training: measured every so many epochs, the others untouched."""

from collections.abc import Mapping

import pandas as pd

from ibrobust.datasets import Split
from ibrobust.entropies.calibration import Neighbours
from ibrobust.entropies.measurement import measured, views_of
from ibrobust.entropies.quantities import require_finite
from ibrobust.entropies.table import information_rows
from ibrobust.models.bottleneck import Bottleneck

TRAJECTORY = "information.csv"


class Trajectory:
    """Watches a training and keeps the information of the first, every `every`-th and the last epoch.

    Args:
        splits: name → samples that are measured; a few thousand are enough.
        repeats: sets of Gaussian samples that each bias is measured on.
    """

    def __init__(self, splits: Mapping[str, Split], *, every: int, epochs: int, run: str, repeats: int = 2) -> None:
        self._splits = splits
        self._every = every
        self._epochs = epochs
        self._run = run
        self._repeats = repeats
        self._parts: list[pd.DataFrame] = []

    def __call__(self, epoch: int, model: Bottleneck) -> None:
        """Measure the model if it is this epoch's turn; draws nothing from the training's random numbers.

        Raises:
            RunFailed: the model's latents or logits are not finite.
        """
        if epoch % self._every and epoch not in (1, self._epochs):
            return
        view = views_of(model, 1)[:2][-1]
        for split, samples in self._splits.items():
            require_finite(model, samples.x)
            measurement = measured(model, samples, view=view, how=Neighbours(repeats=self._repeats))
            self._parts.append(information_rows(measurement, run=self._run, epoch=epoch, split=split, view=view))

    @property
    def table(self) -> pd.DataFrame:
        """Run, epoch, split, view and the columns of an information table."""
        return pd.concat(self._parts, ignore_index=True)
