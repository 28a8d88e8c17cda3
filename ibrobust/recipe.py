"""What a run is made of, as one flat record: flags, TOML and the run's name all come from here."""

import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

from ibrobust.errors import BadInput, shortened
from ibrobust.files import in_zoo
from ibrobust.records import OneOf, checked, flag, names_in, toml_values

_YOUNGER = ("resize", "crop", "label_column")
"""Fields that are younger than released runs and stand in no file where they have their default."""
_MOST_RUNS = 100_000
"""What one file may ask for: a list too many in a grid is soon more than a computer holds."""

Count = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Recipe(BaseModel):
    """Everything that decides a run's weights. A field that is not given has its default; the name of the run hashes
    what differs from the defaults, so new fields may come but a default never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Annotated[str, OneOf("data set")] = Field(
        "digits", description="data set: a name, or data of your own in a form that `ibrobust datasets` lists"
    )
    model: Annotated[str, OneOf("model")] = Field("mlp", description="encoder architecture")
    reg: Annotated[str, OneOf("regulariser")] = Field("none", description="regulariser")
    gamma: NonNegative = Field(1e-3, description="coefficient of the regulariser; 0 for none")
    latent: Count = Field(32, description="dimensions K of the latent Z")
    noise: Annotated[str, OneOf("latent noise")] = Field(
        "auto", description="latent noise: auto (the regulariser's), σ of a Gaussian, or a name"
    )
    adversarial: NonNegative = Field(0.0, description="train on PGD examples of this L∞ radius (Madry et al. 2018)")
    epochs: Count = Field(60, description="passes over the training set")
    batch_size: Count = Field(64, description="samples per step")
    learning_rate: Positive = Field(1e-3, description="Adam's initial learning rate")
    lr_factor: Positive = Field(0.5, description="what the schedule multiplies the learning rate with")
    lr_patience: Count = Field(5, description="epochs without improvement, or between decays, before it does")
    seed: Seed = Field(0, description="seed of initial weights, batches and noise")
    train_samples: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        0, description="training images used: the first, which folders spread over classes; 0 for all"
    )
    augment: Annotated[str, OneOf("augmentation")] = Field("none", description="changes to training images")
    latent_kind: Literal["continuous", "categorical"] = Field(
        "continuous", description="continuous, or categorical: the encoder chooses one of K categories"
    )
    likelihood: Annotated[str, OneOf("likelihood")] = Field("decoder", description="likelihood term")
    latent_samples: Count = Field(1, description="samples S of the noise per image and step")
    dropout: Share = Field(0.0, description="rate of dropout, in models that have a place for it")
    dropconnect: Share = Field(
        0.0, description="rate of DropConnect on convolutions, in models that have a place for it"
    )
    lr_schedule: Annotated[str, OneOf("schedule")] = Field("plateau", description="how the learning rate changes")
    adam_beta1: Share = Field(0.9, description="Adam's decay of the mean gradient")
    adam_beta2: Share = Field(0.999, description="Adam's decay of the mean squared gradient")
    polyak: Share = Field(0.0, description="decay of the averaged weights that are kept; 0 keeps the last weights")
    clip: NonNegative = Field(0.0, description="gradients are scaled down to this norm; 0 leaves them alone")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of matrix products while training")
    layout: Literal["auto", "nchw", "nhwc"] = Field(
        "auto", description="of an .npz file's images: nchw, nhwc, or auto where their shape tells"
    )
    resize: str = Field("", description="of image files: their shorter side, or HEIGHTxWIDTH; 256:bicubic filters so")
    crop: str = Field("", description="of image files, after --resize: keep the centre, 224 or HEIGHTxWIDTH")
    label_column: str = Field("", description="of tables of images: the column of labels")
    shrink_latent: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="factor on the latent's scale after every epoch, undone in the decoder (Kirsch et al. §G.4)"
    )

    @model_validator(mode="before")
    @classmethod
    def _no_regulariser_no_gamma(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("reg", "none") == "none":
            return {"gamma": 0.0, **values}
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        categorical = self.latent_kind == "categorical"
        problems = {
            f"gamma = {self.gamma:g} has nothing to multiply with reg 'none'": self.reg == "none" and self.gamma > 0,
            f"noise {self.noise!r} does not go with a categorical latent: its noise is the choice": categorical
            and self.noise != "auto",
            f"latent_samples = {self.latent_samples}, but sums over a categorical latent are exact": categorical
            and self.latent_samples > 1,
            f"shrink_latent = {self.shrink_latent:g} needs a continuous latent": categorical and self.shrink_latent < 1,
        }
        for problem, found in problems.items():
            if found:
                raise ValueError(problem)
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, fields: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {key: value for key, value in fields(self).items() if value or key not in _YOUNGER}

    @property
    def run_id(self) -> str:
        """Data, model, regulariser, radius of adversarial training, γ, seed and a digest of the whole recipe."""
        different = json.dumps(self.model_dump(exclude_defaults=True), sort_keys=True)
        digest = hashlib.sha256(different.encode()).hexdigest()[:8]
        data = re.sub(r"[^A-Za-z0-9]+", "-", Path(self.data).stem).strip("-").lower() or "data"
        adversarial = f"-adv{self.adversarial:g}" if self.adversarial else ""
        rest = f"{self.model}-{self.reg}{adversarial}-g{self.gamma:g}-s{self.seed}".replace("+", "")
        return f"{data[: 110 - len(rest)]}-{rest}-{digest}"

    @property
    def names(self) -> list[tuple[str, str]]:
        """The kind and name of everything that the recipe names."""
        return names_in(self)

    def to_toml(self) -> str:
        """One `key = value` line per field; `recipes_in` reads it back."""
        lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in self.model_dump().items())
        return "".join(lines).replace("\x7f", "\\u007f")  # the one control character that JSON leaves as it is


def make_recipe(values: dict[str, Any], file: Path | None = None) -> Recipe:
    """A checked recipe from a file's values, or from flags where no file is named.

    Raises:
        BadInput: an unknown key or a value out of range; one line with the key, the value and what is allowed.
    """
    return checked(Recipe, values, file=file, spelled=flag)


def recipes_in(file: Path, overrides: dict[str, Any] | None = None) -> list[Recipe]:
    """The recipes of a TOML file: a value may be a list, and then every combination is one recipe; each `[[run]]`
    table is a grid of its own on top of the values above it. `overrides` win over the file.

    Raises:
        BadInput: the file cannot be read, or a recipe in it is not valid.
    """
    content = toml_values(in_zoo(file), "recipe")
    grids = content.pop("run", [{}])
    if not (isinstance(grids, list) and all(isinstance(grid, dict) for grid in grids)):
        raise BadInput(f"recipe {str(file)!r}: run = {shortened(repr(grids))}; each run is a table, [[run]]")
    for grid in grids:
        _require_few({**content, **grid, **(overrides or {})}, file)
    combinations = [values for grid in grids for values in _combinations({**content, **grid, **(overrides or {})})]
    recipes = [make_recipe(values, file) for values in combinations]
    return list(dict.fromkeys(recipes))


def _require_few(grid: dict[str, Any], file: Path) -> None:
    count = math.prod(len(value) if isinstance(value, list) else 1 for value in grid.values())
    if count > _MOST_RUNS:
        raise BadInput(f"recipe {str(file)!r}: its lists make {count} runs; {_MOST_RUNS} is the most")
    if empty := [key for key, value in grid.items() if value == []]:
        raise BadInput(f"recipe {str(file)!r}: {empty[0]} = []: the list is empty, so there is nothing to train")


def _combinations(grid: dict[str, Any]) -> list[dict[str, Any]]:
    choices = [value if isinstance(value, list) else [value] for value in grid.values()]
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*choices)]
