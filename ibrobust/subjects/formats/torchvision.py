"""torchvision's classifiers by name: `torchvision:resnet18`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ibrobust.errors import BadInput
from ibrobust.python_files import said
from ibrobust.subjects.formats.interface import Pixels, Say, behind_prefix, library, no_number_drawn, of_library
from ibrobust.subjects.formats.known_names import require_known
from ibrobust.subjects.formats.weights import with_weights


def _named(model: str, arguments: Mapping[str, Any], weights: Path | None, download: bool, say: Say) -> nn.Module:
    """The architecture with the weights in a file, or with torchvision's own if they are on disk or may be fetched;
    the argument `weights` names others than its default ones."""
    name, what = behind_prefix(model), f"model {model!r}"
    models = _models(what)
    require_known(name, models.list_models(module=models), "torchvision", what)
    chosen = dict(arguments)
    its_weights = None if weights else _its_weights(models, name, chosen.pop("weights", "DEFAULT"), download, what)
    try:
        with no_number_drawn():
            module: nn.Module = models.get_model(name, weights=its_weights, **chosen)
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        raise BadInput(f"{what}: torchvision raised {said(error)}") from error
    return with_weights(module.eval(), weights, what, say)


def _models(what: str) -> Any:
    return library("torchvision", what).models


def _its_weights(models: Any, name: str, weights: str, download: bool, what: str) -> Any:
    known = models.get_model_weights(name)
    if weights not in known.__members__:
        raise BadInput(f"{what}: no weights {weights!r} of it; choose from {', '.join(known.__members__)}")
    found = known[weights]
    file = Path(torch.hub.get_dir()) / "checkpoints" / found.url.rpartition("/")[2]
    if not file.is_file() and not download:
        raise BadInput(
            f"{what}: its weights are not on disk ({file}); download (--download) fetches them, or weights (--weights) "
            "names a file of yours"
        )
    return found


def _pixels(model: str, _module: nn.Module) -> Pixels | None:
    transforms = _models(f"model {model!r}").get_model_weights(behind_prefix(model))["DEFAULT"].transforms()
    return tuple(transforms.mean), tuple(transforms.std)


TORCHVISION = of_library(
    "torchvision",
    "torchvision",
    ("arguments", "weights", "download", "say"),
    load=_named,
    pixels=_pixels,
    holds="a classifier of torchvision",
    names=lambda: _models("torchvision").list_models(module=_models("torchvision")),
    example="--model torchvision:resnet18 --weights r18.safetensors --normalise imagenet --data photos.npz "
    "--classes outputs.txt",
)
