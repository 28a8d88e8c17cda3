"""What is evaluated: a run of the zoo or anybody's model, the samples to attack, and what a card says of both."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ibrobust.datasets import PLAIN, AnySplit, Corrupted, DataOptions, origin_of, read_dataset, title_of
from ibrobust.errors import RunFailed
from ibrobust.files import as_name
from ibrobust.plugins import digests_of
from ibrobust.robustness.card import ModelRecord, ResultCard
from ibrobust.robustness.card_records import DataRecord, SourceRecord, TransferRecord
from ibrobust.robustness.health import IGNORED, require_healthy
from ibrobust.robustness.samples import looked_at
from ibrobust.robustness.settings import Settings
from ibrobust.subjects.formats import NOTHING, Loaded, ModelOptions, loaded
from ibrobust.subjects.zoo import Run


@dataclass(frozen=True)
class Source:
    """A model that images are made on, to be scored on another, and what a card says of it."""

    model: Callable[[], nn.Module]
    record: TransferRecord


@dataclass(frozen=True)
class Subject:
    """What is evaluated: a model, the samples to attack and what every result's card says of both.

    Attributes:
        names: the kind and name of everything registered that the model or its data come from.
        health: `check`, or `ignore` where whoever asks knows what is odd about the model.
        corrupted: the samples under corruptions, where that is what the data holds.
        ids: the numbers in the data of the samples of `test`; their places by default.
        source: the other model that images are made on, where there is one.
    """

    name: str
    model: Callable[[], nn.Module]
    test: AnySplit
    model_record: ModelRecord
    data_record: DataRecord
    names: tuple[tuple[str, str], ...] = ()
    health: str = "check"
    corrupted: Corrupted | None = None
    ids: NDArray[np.int64] | None = None
    source: Source | None = None

    def numbers(self, rows: range) -> NDArray[np.int64]:
        """The numbers in the data of samples by their place in `test`."""
        return np.arange(rows.start, rows.stop) if self.ids is None else self.ids[rows.start : rows.stop]

    def variants(self, rows: range) -> dict[str, Tensor] | None:
        """Their images under corruptions, where the data has them."""
        return self.corrupted.variants(self.numbers(rows)) if self.corrupted else None

    def plugins(self, settings: Settings) -> dict[str, str] | None:
        """What a card says of the plugins that model, data and settings come from; None where there are none."""
        return digests_of([*self.names, *settings.names]) or None

    def describes(self, card: ResultCard) -> bool:
        """Whether a card is about these weights, this code, this data and plugins as they are now; a recipe may gain
        fields, weights do not."""
        theirs = card.model
        if theirs is None or card.data is None or card.data.fingerprint != self.data_record.fingerprint:
            return False
        identity = ("run", "weights_sha256", "code_sha256")
        same = all(getattr(theirs, key) == getattr(self.model_record, key) for key in identity)
        return same and card.plugins == self.plugins(card.settings)


def run_subject(run: Run, *, data_dir: Path | None, download: bool) -> Subject:
    """A run on the test set of its own data.

    Raises:
        BadInput: the data is not what the run was trained on.
    """
    card = run.card
    data = run.data(data_dir=data_dir, download=download)
    record = ModelRecord(
        run=card.run,
        recipe=card.recipe.model_copy(update=dict(card.recipe)),  # All its fields are written, also the defaults.
        metrics=card.metrics,
        noise=card.noise,
        weights_sha256=card.weights_sha256,
        plugins=card.plugins or None,
        warnings=[f"{changed} is not the plugin that it was trained with" for changed in run.changed_plugins] or None,
    )
    return Subject(card.run, run.model, data.test, record, DataRecord(**data.card), tuple(card.recipe.names))


def foreign_subject(
    model: str, data: str, *, told: Callable[[str], None] = lambda _doing: None, **loading: Any
) -> Subject:
    """Anybody's model, as `--model` names it, on the test part of data as `--data` names it. It is looked at.

    Args:
        loading: the keywords of `unexamined_subject`.

    Raises:
        BadInput: the model or the data cannot be loaded, or no number measured on the model would mean anything.
    """
    return examined(unexamined_subject(model, data, told=told, **loading), told)


def examined(found: Subject, told: Callable[[str], None] = lambda _doing: None, *, gradients: bool = True) -> Subject:
    """A subject whose model has been looked at.

    Args:
        gradients: whether they are looked at, too.

    Raises:
        BadInput: no number measured on the model would mean anything.
    """
    told(f"looking at the model's answers{' and gradients' if gradients else ''}")
    some = found.test[looked_at(len(found.test))]
    notes = [note for note in found.model_record.warnings or [] if note != IGNORED]
    warnings = [*notes, *require_healthy(found.model(), some.x, some.y, gradients=gradients)]
    return replace(found, model_record=found.model_record.model_copy(update={"warnings": warnings}), health="check")


def unexamined_subject(
    model: str,
    data: str,
    *,
    data_dir: Path | None,
    download: bool,
    about: DataOptions = PLAIN,
    options: ModelOptions = NOTHING,
    told: Callable[[str], None] = lambda _doing: None,
) -> Subject:
    """Anybody's model and data without a look at the model, which its record says.

    Args:
        about: how the data is read.
        options: what is said about the model beside its name.
        told: is called with what is being done, before it is.

    Raises:
        BadInput: the model or the data cannot be loaded.
    """
    told(f"loading the data {data}")
    dataset = read_dataset(data, about, data_dir=data_dir, download=download)
    told(f"loading the model {model}")
    address = Address(model, options, dataset.shape, dataset.class_names)
    found = address.loaded()
    name = as_name(f"{found.name}-{title_of(data)}")
    source = SourceRecord(format=found.format, **found.told) if found.told or found.format != "python" else None
    weights_sha256, code_sha256 = found.digests["weights_sha256"], found.digests["code_sha256"]
    record = ModelRecord(
        run=name,
        weights_sha256=weights_sha256,
        code_sha256=code_sha256,
        source=source,
        warnings=[*found.notes, IGNORED],
    )
    names = (("model format", found.format), origin_of(data))
    made = TheirModel(address, weights_sha256, found.module)
    return Subject(name, made, dataset.test, record, DataRecord(**dataset.card), names, "ignore", dataset.corrupted)


@dataclass(frozen=True)
class Address:
    """Everything that a model is made of anew in another process."""

    model: str
    options: ModelOptions
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]

    def loaded(self) -> Loaded:
        return loaded(self.model, self.options, shape=self.shape, class_names=self.class_names)


class TheirModel:
    """A model that was made from an address; another process of this machine makes it anew."""

    def __init__(self, address: Address, weights_sha256: str, module: nn.Module) -> None:
        self.address, self.weights_sha256, self.module = address, weights_sha256, module

    def __call__(self) -> nn.Module:
        return self.module

    def __reduce__(self) -> tuple[Callable[[Address, str], "TheirModel"], tuple[Address, str]]:
        return _made_again, (self.address, self.weights_sha256)


def _made_again(address: Address, weights_sha256: str) -> TheirModel:
    """Raises:
    RunFailed: the weights are others than the first time.
    """
    found = address.loaded()
    if found.digests["weights_sha256"] != weights_sha256:
        raise RunFailed(
            f"{address.model} makes other weights each time; take one worker (--workers 1), or let it set a seed"
        )
    return TheirModel(address, weights_sha256, found.module)
