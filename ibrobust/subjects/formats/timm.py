"""timm's classifiers by name: `timm:resnet18.a1_in1k`."""

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

_EXTRA = "timm"


def _named(model: str, arguments: Mapping[str, Any], weights: Path | None, download: bool, say: Say) -> nn.Module:
    """The architecture with the weights in a file, or with timm's own if they are on disk or may be fetched."""
    name, what = behind_prefix(model), f"model {model!r}"
    timm = library("timm", what, _EXTRA)
    require_known(name.partition(".")[0], timm.list_models(), "timm", what)
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise BadInput(f"{what}: timm raised {said(error)}") from error
    file = None if weights else _file_on_disk(config)
    if weights is None and file is None and not download:
        raise BadInput(
            f"{what}: its weights are not on disk; download (--download) fetches them, or weights (--weights) names a "
            "file of yours"
        )
    overlay = {"pretrained_cfg_overlay": {"file": str(file)}} if file else {}
    try:
        with no_number_drawn():
            module: nn.Module = timm.create_model(name, pretrained=weights is None, **overlay, **arguments)
    except (TypeError, ValueError, RuntimeError, OSError, AssertionError) as error:
        raise BadInput(f"{what}: timm raised {said(error)}") from error
    return with_weights(module.eval(), weights, what, say)


def _file_on_disk(config: Any) -> Path | None:
    """Where its weights lie, fetched by timm before; None where they do not."""
    places: list[Any] = []
    if config and config.hf_hub_id:
        hub = library("huggingface_hub", "timm", _EXTRA)
        names = [config.hf_hub_filename] if config.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
        places += [hub.try_to_load_from_cache(config.hf_hub_id, name) for name in names]
    if config and config.url:
        places.append(str(Path(torch.hub.get_dir()) / "checkpoints" / config.url.rpartition("/")[2]))
    return next((Path(place) for place in places if isinstance(place, str) and Path(place).is_file()), None)


def _pixels(_model: str, module: nn.Module) -> Pixels | None:
    config = getattr(module, "pretrained_cfg", None) or {}
    return (config["mean"], config["std"]) if "mean" in config and "std" in config else None


TIMM = of_library(
    "timm",
    "timm",
    ("arguments", "weights", "download", "say"),
    load=_named,
    pixels=_pixels,
    extra=_EXTRA,
    holds="a classifier of timm",
    names=lambda: library("timm", "timm", _EXTRA).list_models(),
    example="--model timm:vit_tiny_patch16_224 --model-arg depth=1 --weights vit.safetensors --normalise own "
    "--data photos.npz --classes outputs.txt",
)
