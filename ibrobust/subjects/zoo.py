"""Where runs live: a folder each, with weights, history and a card that says what they are."""

import hashlib
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

import ibrobust
from ibrobust.datasets import STORED, Dataset, options_of, read_dataset
from ibrobust.errors import BadInput, ran_out_of_memory, shortened
from ibrobust.files import checked_name, entries, in_zoo, released_zoo, rest_of_zoo, written_whole
from ibrobust.learning.building import recipe_model
from ibrobust.learning.objectives import LIKELIHOODS, REGULARIZERS, noise_name, recipe_noise
from ibrobust.learning.training import Trained
from ibrobust.models import MODELS
from ibrobust.models.bottleneck import Bottleneck
from ibrobust.plugins import digests_of, loaded_plugins
from ibrobust.recipe import Count, NonNegative, Recipe
from ibrobust.tables import save_table

CARD, WEIGHTS, HISTORY = "card.json", "weights.safetensors", "history.csv"


_Size = Annotated[int, Field(ge=1, lt=2**20)]


class Card(BaseModel):
    """What a run is and what was measured when it was trained; metrics by split, in nats but for `error`; of
    class folders, their names by label and the order of the samples."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    run: str
    recipe: Recipe
    shape: tuple[_Size, _Size, _Size]
    classes: _Size
    noise: str
    noise_std: NonNegative | None
    data_fingerprint: str
    metrics: dict[str, dict[str, float]]
    versions: dict[str, str]
    weights_sha256: str
    threads: Count = 1
    class_names: tuple[str, ...] = ()
    sample_order: str = STORED
    plugins: dict[str, str] = Field({}, description="SHA-256 of the plugins that the recipe's names come from")

    @property
    def text(self) -> str:
        """The card as JSON, without what it has nothing to say about."""
        silent = {"class_names", "sample_order"} if not self.class_names else set()
        return self.model_dump_json(indent=2, exclude=silent | ({"plugins"} if not self.plugins else set())) + "\n"


@dataclass(frozen=True)
class Run:
    """A finished run on disk."""

    folder: Path
    card: Card

    def model(self) -> Bottleneck:
        """The trained model on the CPU.

        Raises:
            BadInput: the weights are missing, truncated, or not those of the card.
        """
        return trained_model(self.weights(), self.card, str(self.folder / WEIGHTS))

    def weights(self) -> bytes:
        """The file of weights.

        Raises:
            BadInput: it cannot be read.
        """
        path = self.folder / WEIGHTS
        try:
            return path.read_bytes()
        except OSError as error:
            reason = " ".join(str(error).split())
            raise BadInput(f"weights {str(path)!r} cannot be read: {shortened(reason)}") from error

    @property
    def changed_plugins(self) -> list[str]:
        """The files of plugins that are not what they were when the run was trained."""
        now, then = digests_of(self.card.recipe.names), self.card.plugins
        return sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))

    def data(self, *, data_dir: Path | None, download: bool) -> Dataset:
        """The data set that the run was trained on.

        Raises:
            BadInput: it is not there, or has other content than it had.
        """
        recipe = self.card.recipe
        data = read_dataset(recipe.data, options_of(recipe), data_dir=data_dir, download=download)
        if data.fingerprint != self.card.data_fingerprint:
            name = f"data {recipe.data!r} of run {self.card.run}"
            raise BadInput(f"{name} is not what it was trained on: fingerprints differ")
        return data


def save_run(
    folder: Path, recipe: Recipe, data: Dataset, trained: Trained, metrics: dict[str, dict[str, float]]
) -> Run:
    """Write `folder/<run-id>`; the card comes last, so a run without one never finished."""
    run_folder = folder / recipe.run_id
    weights = save({name: tensor.cpu().contiguous() for name, tensor in trained.model.state_dict().items()})
    card = Card(
        run=recipe.run_id,
        recipe=recipe,
        shape=data.shape,
        classes=data.classes,
        noise=noise_name(recipe),
        noise_std=trained.model.noise.std,
        data_fingerprint=data.fingerprint,
        metrics=metrics,
        versions=versions(),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        threads=torch.get_num_threads(),
        class_names=data.class_names,
        sample_order=data.order,
        plugins=digests_of(recipe.names),
    )
    save_table(trained.history, run_folder / HISTORY)
    with written_whole(run_folder / WEIGHTS) as unfinished:
        unfinished.write_bytes(weights)
    with written_whole(run_folder / CARD) as unfinished:
        unfinished.write_text(card.text, encoding="utf-8", newline="\n")
    return Run(run_folder, card)


def load_run(folder: Path) -> Run:
    """Raises:
    BadInput: there is no finished run in the folder, or its card is not whole.
    """
    path = folder / CARD
    if not path.is_file():
        raise BadInput(f"{str(folder)!r} holds no finished run: no {CARD}")
    try:
        card = Card.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadInput(f"card {str(path)!r} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BadInput(f"card {str(path)!r} is not whole: {where}: {first['msg']}") from None
    _require_known(card, f"card {str(path)!r}")
    return Run(folder, card)


def _require_known(card: Card, where: str) -> None:
    """Whether everything that the card names is there, and its noise is that of its recipe."""
    checked_name(card.run, f"{where}: run")
    recipe = card.recipe
    try:
        for registry, name in ((MODELS, recipe.model), (REGULARIZERS, recipe.reg), (LIKELIHOODS, recipe.likelihood)):
            registry[name]
        name, std = noise_name(recipe), recipe_noise(recipe).std
    except BadInput as error:
        missing = sorted(set(card.plugins) - {name for plugin in loaded_plugins() for name in plugin.digests})
        hint = f"; the run was trained with {', '.join(missing)}: load it first (--plugin)" if missing else ""
        raise BadInput(f"{where}: recipe: {error}{hint}") from None
    if card.noise != name:
        raise BadInput(f"{where}: noise = {shortened(repr(card.noise))}, but the recipe's is {name!r}")
    if card.noise_std != std:
        raise BadInput(f"{where}: noise_std = {card.noise_std}, but the recipe's noise is {name!r}, whose own is {std}")


def find_runs(paths: list[Path]) -> list[Run]:
    """The runs that are, or lie directly in, the given folders (`zoo` stands for the released ones), sorted by name.

    Raises:
        BadInput: a path is neither a run nor a folder of runs, or two runs of one name have other weights.
    """
    runs: dict[str, Run] = {}
    for path in paths:
        folder = released_zoo() / "runs" if str(path) == "zoo" else in_zoo(path)
        found = (
            [folder] if (folder / CARD).is_file() else [place for place in entries(folder) if (place / CARD).is_file()]
        )
        if not found:
            raise BadInput(
                f"no run in {str(path)!r}; name a run's folder, a folder of runs, or zoo for the released ones"
                f"{rest_of_zoo([path])}"
            )
        for run in map(load_run, found):
            known = runs.setdefault(run.card.run, run)
            if known.card.weights_sha256 != run.card.weights_sha256:
                places = f"{str(known.folder)!r} and {str(run.folder)!r}"
                raise BadInput(f"{places} hold runs of one name with other weights; take them one after the other")
    return [runs[name] for name in sorted(runs)]


def versions() -> dict[str, str]:
    """The versions that can change a result's last bits."""
    return {"ibrobust": ibrobust.__version__, "torch": torch.__version__, "python": platform.python_version()}


def trained_model(content: bytes, card: Card, name: str) -> Bottleneck:
    """The model of a card, on the CPU, with the weights that a file holds.

    Args:
        name: what messages call the file.

    Raises:
        BadInput: the weights are truncated, or not those of the card.
    """
    try:
        if hashlib.sha256(content).hexdigest() != card.weights_sha256:
            raise BadInput(f"weights {name!r} are not those of the card: their SHA-256 differs")
        weights = load(content)
        _require_fitting(weights, card)
        model = recipe_model(card.recipe, card.shape, card.classes)
        model.load_state_dict(weights)
    except (SafetensorError, RuntimeError, KeyError, AttributeError, TypeError) as error:
        if ran_out_of_memory(error):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"weights {name!r} cannot be read: {shortened(reason)}") from error
    return model


def _require_fitting(weights: dict[str, Tensor], card: Card) -> None:
    """Whether the tensors are those of the card's model, looked at before that takes any memory; loading would convert
    another type without a word.

    Raises:
        TypeError: which one is not, and why.
    """
    with torch.device("meta"):
        outline = recipe_model(card.recipe, card.shape, card.classes).state_dict()
    if other := sorted(outline.keys() ^ weights.keys()):
        raise TypeError(f"{other[0]} is {'missing' if other[0] in outline else 'not in the model'}")
    for name, tensor in outline.items():
        found = weights[name]
        if (found.shape, found.dtype) != (tensor.shape, tensor.dtype):
            described = (f"{tuple(each.shape)} of {each.dtype}" for each in (found, tensor))
            raise TypeError("{} has shape {}, the model's has {}".format(name, *described))
