"""What information is measured of: a run, or anybody's model that has a latent, with its training and test part."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from ibrobust.datasets import AnySplit, Dataset
from ibrobust.errors import BadInput
from ibrobust.experiments.subject import Subject
from ibrobust.models.bottleneck import Bottleneck
from ibrobust.subjects.zoo import Run

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Measurable:
    """A model with a latent, and samples by the name of their split.

    Attributes:
        model: makes it; it may raise `BadInput`.
        data: loads the samples; it may raise `BadInput`.
        digests: of everything that decides the weights and the samples.
        names: the kind and name of everything registered that they come from.
    """

    name: str
    model: Callable[[], Bottleneck]
    data: Callable[[], Dataset]
    digests: tuple[str | None, ...]
    names: tuple[tuple[str, str], ...]

    def splits(self) -> dict[str, AnySplit]:
        """The samples."""
        data = self.data()
        return {name: getattr(data, name) for name in SPLITS}


def measurable_run(run: Run, *, data_dir: Path | None, download: bool) -> Measurable:
    """A run on its own data."""
    card, data = run.card, partial(run.data, data_dir=data_dir, download=download)
    return Measurable(card.run, run.model, data, (card.weights_sha256, card.data_fingerprint), tuple(card.recipe.names))


def measurable_model(subject: Subject, data: Dataset) -> Measurable:
    """Anybody's model on the data of its subject.

    Raises:
        BadInput: the model has no latent.
    """
    model = subject.model()
    if not isinstance(model, Bottleneck):
        raise BadInput(
            f"model {subject.name}: {_lack(model)}; what is measured is a latent with its noise. Let the function that "
            "makes the model return ibrobust.models.bottleneck.Bottleneck(encoder, decoder, noise=…), in which your "
            "network is cut in two (docs/models.md, Information)"
        )
    record = subject.model_record
    digests = (record.weights_sha256, record.code_sha256, subject.data_record.fingerprint)
    return Measurable(subject.name, subject.model, lambda: data, digests, subject.names)  # type: ignore[arg-type]


def _lack(model: nn.Module) -> str:
    inner = getattr(model, "model", None)
    if isinstance(inner, Bottleneck):
        return (
            "a Bottleneck normalises inside (pixel_mean, pixel_std) and is taken as it is, without mean, std or classes"
        )
    return f"it is {type(model).__name__}, which answers with logits and gives no latent"
