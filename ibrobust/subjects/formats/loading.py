"""From a text, and what is said beside it, to a classifier of pixels in [0, 1]."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from ibrobust.errors import BadInput, ModelWarning
from ibrobust.models.answers import as_module
from ibrobust.python_files import said
from ibrobust.subjects.adapted import adapted, class_map
from ibrobust.subjects.digests import digests
from ibrobust.subjects.formats.interface import FORMATS, Format, Pixels, format_name
from ibrobust.subjects.formats.options import KNOWN_PIXELS, NOTHING, OWN, ModelOptions, model_options

Shape = tuple[int, int, int]
"""An image's channels, height and width."""


class Loaded(NamedTuple):
    """A model that a text has led to.

    Attributes:
        module: pixels in [0, 1] → logits of the data's labels.
        name: what results call it.
        format: the name of its format.
        digests: `weights_sha256` of the model itself and `code_sha256`, which covers the options, too.
        notes: what was done to it that its user may not expect.
        told: the options that decide what it computes, as a card says them; empty where none does.
    """

    module: nn.Module
    name: str
    format: str
    digests: dict[str, str]
    notes: list[str]
    told: dict[str, Any]


def load_model(model: str, *, shape: Shape | None = None, class_names: Sequence[str] = (), **options: Any) -> nn.Module:
    """The model that a text names, as a classifier of pixels in [0, 1]; any text that `--model` takes.

    What was done to it that its user may not expect is a `ModelWarning`.

    Args:
        shape: (C, H, W) of the images that it will be asked about, where its file leaves that open.
        class_names: the data's classes by label, for a file of `classes` that names them.
        options: the fields of `ModelOptions`: `arguments`, `weights`, `architecture`, `normalise`, `mean`, `std`,
            `classes`, `download`.

    Raises:
        BadInput: no format knows the text, it does not lead to a model, or an option cannot be used.
    """
    found = loaded(model, model_options(options), shape=shape, class_names=class_names)
    for note in found.notes:
        warnings.warn(note, ModelWarning, stacklevel=2)
    return found.module


def loaded(
    model: str, options: ModelOptions = NOTHING, *, shape: Shape | None = None, class_names: Sequence[str] = ()
) -> Loaded:
    """The model that a text names, and what a card says of it.

    Args and Raises: as `load_model`.
    """
    name = format_name(model)
    form = FORMATS[name]
    if form.stands_for:
        other, its_options = form.stands_for(model, options)
        found = loaded(other, its_options, shape=shape, class_names=class_names)
        return found._replace(name=form.name(model))
    what = f"model {model!r}"
    _require_taken(form, name, options, what)
    notes: list[str] = []
    given = {"shape": shape, "say": notes.append, **dict(options)}
    try:
        made = form.load(model, **{key: given[key] for key in form.takes})
    except BadInput:
        raise
    except (Exception, SystemExit) as error:
        raise BadInput(f"{what}: the format {name!r} raised {said(error)}") from error
    module = as_module(made, f"{what}: the format {name!r} returned")
    pixels = _pixels(form, model, module, options, notes)
    outputs = class_map(options.classes, class_names) if options.classes is not None else None
    told = _told(options, pixels, outputs)
    found_digests = _digests(form, model, module, told)
    whole = adapted(module, pixels, outputs, shape, what, notes.append)
    return Loaded(whole, form.name(model), name, found_digests, notes, told)


def _require_taken(form: Format, name: str, options: ModelOptions, what: str) -> None:
    for key in ("arguments", "weights", "architecture"):
        if key in options.given and key not in form.takes:
            raise BadInput(f"{what}: {key} cannot be given; models of the format {name!r} take none")


def _pixels(form: Format, model: str, module: nn.Module, options: ModelOptions, notes: list[str]) -> Pixels | None:
    """The normalisation that is put in front of the model; a note where its library knows one and none is."""
    if options.mean is not None and options.std is not None:
        return options.mean, options.std
    own = form.pixels(model, module) if form.pixels else None
    if options.normalise == OWN:
        if own is None:
            raise BadInput(
                f"model {model!r}: normalise 'own': nothing says what it was trained with; give mean and std"
            )
        return own
    if options.normalise:
        return KNOWN_PIXELS[options.normalise]
    if own is not None:
        mean, std = (", ".join(f"{number:g}" for number in numbers) for numbers in own)
        notes.append(f"it is given pixels in [0, 1] as they are, and was trained with mean {mean} and std {std}; "
                     "normalise (--normalise own) does that")  # fmt: skip
    return None


def _told(options: ModelOptions, pixels: Pixels | None, outputs: Sequence[int] | None) -> dict[str, Any]:
    told: dict[str, Any] = {"arguments": dict(options.arguments)} if options.arguments else {}
    if pixels:
        told |= {"mean": [*map(float, pixels[0])], "std": [*map(float, pixels[1])]}
    return {**told, "outputs": [*outputs]} if outputs is not None else told


def _digests(form: Format, model: str, module: nn.Module, told: dict[str, Any]) -> dict[str, str]:
    maker = form.maker(model) if form.maker else None
    file = Path(model) if not form.maker and Path(model).is_file() else None
    also = form.also(model, module) if form.also else ""
    settings = json.dumps(told, sort_keys=True, default=str) if told else ""
    return digests(module, maker, file, settings=also + settings)
