"""What is said about a model beside the text that names it: arguments, weights, pixels, classes. Needs no torch."""

import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ibrobust.errors import BadInput, shortened
from ibrobust.records import checked

OWN = "own"
"""The normalisation that a model's library says it was trained with."""

KNOWN_PIXELS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,), (0.5,)),
}
"""Mean and standard deviation per channel, by the name of the normalisation; `half` leads from [0, 1] to [−1, 1]."""


def _numbers(value: Any) -> Any:
    """Numbers as flags have them, separated by commas, or as TOML and Python have them."""
    if isinstance(value, str):
        try:
            return tuple(float(part) for part in value.split(","))
        except ValueError:
            raise BadInput(f"{shortened(value)!r} is not one number per channel, separated by commas") from None
    return (value,) if isinstance(value, int | float) else value


_PerChannel = Annotated[tuple[float, ...], BeforeValidator(_numbers)]


class ModelOptions(BaseModel):
    """Everything that decides which classifier a text such as `timm:resnet18` stands for, beside the text.

    Attributes:
        classes: the model's output for each label of the data, or a file that says so (`class_map`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    arguments: dict[str, Any] = Field(
        default_factory=dict, description="what the function that makes it is called with"
    )
    weights: Path | None = Field(
        None, description="a file of weights: safetensors, or a state_dict saved by torch.save"
    )
    architecture: str | None = Field(None, description="the model that a file of weights is for, as --model names one")
    normalise: Literal["imagenet", "half", "own"] | None = Field(
        None, description="put this normalisation in front; own: the one that its library names"
    )
    mean: _PerChannel | None = Field(None, description="subtracted from pixels in [0, 1]: a number, or one per channel")
    std: _PerChannel | None = Field(None, description="by which the pixels are divided then")
    classes: Path | tuple[int, ...] | None = Field(
        None, description="file that says which output of the model is which label of the data"
    )
    download: bool = Field(False, description="fetch weights that are not on disk")

    @model_validator(mode="after")
    def _fits_together(self) -> "ModelOptions":
        for key, numbers in (("mean", self.mean), ("std", self.std)):
            if numbers is not None and not (numbers and all(math.isfinite(number) for number in numbers)):
                raise BadInput(f"{key} {list(numbers)} is not one finite number per channel")
        if (self.mean is None) != (self.std is None):
            raise BadInput(f"{'std' if self.mean is None else 'mean'} stands alone; mean and std go together")
        if self.mean is not None and self.std is not None:
            self._require_pixels_in_unit_range(self.mean, self.std)
        if self.normalise and self.mean is not None:
            raise BadInput(f"normalise {self.normalise!r}: leave it out beside mean and std")
        return self

    @staticmethod
    def _require_pixels_in_unit_range(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        if len({len(mean), len(std)} - {1}) > 1:
            raise BadInput(f"mean has {len(mean)} numbers and std {len(std)}; write one per channel in both")
        if min(std) <= 0:
            raise BadInput(f"std {list(std)}: every number has to be above 0")
        if max(map(abs, mean)) > 1:
            raise BadInput(
                f"mean {list(mean)} is for pixels in 0 … 255; pixels are in [0, 1], so divide it and std by 255"
            )

    @property
    def given(self) -> list[str]:
        """The names of the options that say something."""
        return [key for key, value in self if value not in (None, {}, False)]


def model_options(values: Mapping[str, Any], *, file: Path | None = None) -> ModelOptions:
    """Checked options.

    Raises:
        BadInput: as `records.checked`.
    """
    if file is None and (unknown := [key for key in values if key not in ModelOptions.model_fields]):
        raise BadInput(f"a model has no option {unknown[0]!r}; choose from {', '.join(ModelOptions.model_fields)}")
    return checked(ModelOptions, values, file=file)


NOTHING = model_options({})
"""The model as its name says."""


def parsed_arguments(texts: Iterable[str]) -> dict[str, Any]:
    """`key=value` texts as arguments: a value that is a TOML or JSON literal is what that says, any other is a text.

    Raises:
        BadInput: a text has no `=`, a key is no name in Python or comes twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip().replace("-", "_")
        if not (equals and key.isidentifier()):
            raise BadInput(f"model-arg {shortened(text)!r}: write key=value, as depth=18 or weights=w.safetensors")
        if key in found:
            raise BadInput(f"model-arg {shortened(text)!r}: {key} is given twice")
        found[key] = _literal(value.strip())
    return found


def _literal(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        value = {}
    if len(value) == 1 and not isinstance(value["value"], date | datetime | time):
        return value["value"]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
