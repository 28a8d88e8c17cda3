"""Files that PyTorch itself reads, and the TOML file that says everything about a model."""

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ibrobust.errors import BadInput
from ibrobust.python_files import said
from ibrobust.records import toml_values
from ibrobust.subjects.formats.interface import Format, Say, missing_file
from ibrobust.subjects.formats.options import ModelOptions, model_options
from ibrobust.subjects.formats.weights import with_weights

_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".tar", ".ts", ".jit", ".torchscript", ".safetensors")


def _is_weights(model: str) -> bool:
    return Path(model).suffix in _SUFFIXES


def _weights_of_an_architecture(model: str, options: ModelOptions) -> tuple[str, ModelOptions]:
    """`FILE.pt` with `--architecture A` is the model A with `--weights FILE.pt`."""
    file = Path(model)
    missing_file(file, f"model {model!r}")
    if options.architecture is None:
        raise BadInput(
            f"model {model!r}: weights alone are no model; architecture (--architecture) says of which: net.py:make, "
            "torchvision:resnet18, timm:NAME"
        )
    if options.weights is not None:
        raise BadInput(f"model {model!r}: weights {str(options.weights)!r}: the model is a file of weights already")
    return options.architecture, options.model_copy(update={"architecture": None, "weights": file})


def _is_program(model: str) -> bool:
    """Whether it is a file that `torch.jit.save` wrote."""
    if not (_is_weights(model) and zipfile.is_zipfile(model)):
        return False
    with zipfile.ZipFile(model) as archive:
        return any("/code/" in name for name in archive.namelist())


def _program(model: str, weights: Path | None, say: Say) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch would have people use torch.export.
            program: nn.Module = torch.jit.load(model, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise BadInput(f"model {model!r}: TorchScript cannot read the file: {said(error)}") from error
    return with_weights(program, weights, f"model {model!r}", say)


def _described(model: str, options: ModelOptions) -> tuple[str, ModelOptions]:
    """The model that a TOML file describes; what is said beside it wins. Paths that lie beside the file are found."""
    file = Path(model)
    missing_file(file, f"model {model!r}")
    values = toml_values(file, "model")
    named = values.pop("model", None)
    if not isinstance(named, str):
        raise BadInput(f'{model}: model is missing; write model = "timm:resnet18", and the options beside it')
    if Path(named).suffix == ".toml":
        raise BadInput(f"{model}: model = {named!r} is such a file, too; name the model itself")
    for key in ("weights", "classes"):
        if isinstance(values.get(key), str):
            values[key] = _beside(file, values[key])
    if isinstance(values.get("architecture"), str):
        values["architecture"] = _beside(file, values["architecture"])
    theirs = model_options(values, file=file)
    given: dict[str, Any] = {key: getattr(options, key) for key in options.given}
    given["arguments"] = {**theirs.arguments, **options.arguments}
    if {"normalise", "mean", "std"} & set(given):
        given = {"normalise": None, "mean": None, "std": None, **given}
    return _beside(file, named), model_options({**dict(theirs), **given})


def _beside(file: Path, named: str) -> str:
    """A path that begins at the folder of the file, where there is one; `net.py:make` and `hf:FOLDER` too."""
    if named.startswith("hf:") and (file.parent / named[3:]).is_dir():
        return f"hf:{file.parent / named[3:]}"
    path, colon, name = named.rpartition(":") if ":" in named else (named, "", "")
    there = file.parent / path
    return f"{there}{colon}{name}" if path and there.exists() and not Path(path).is_absolute() else named


def _no_model(model: str) -> nn.Module:
    raise AssertionError(f"{model} stands for another model")


WEIGHTS = Format(
    "FILE.pt or FILE.safetensors with --architecture",
    accepts=_is_weights,
    load=_no_model,
    stands_for=_weights_of_an_architecture,
    takes=("arguments", "architecture", "download"),
    holds="weights of safetensors or of a state_dict that torch.save wrote; nothing in them runs",
    example="--model w.safetensors --architecture net.py:make --model-arg width=4 --data mine.npz",
)
TORCHSCRIPT = Format(
    "FILE.pt of TorchScript",
    accepts=_is_program,
    load=_program,
    takes=("weights", "say"),
    holds="what torch.jit.save wrote",
    example="--model scripted.pt --data mine.npz",
)
TOML = Format(
    "FILE.toml",
    accepts=lambda model: Path(model).suffix == ".toml",
    load=_no_model,
    stands_for=_described,
    takes=("arguments", "weights", "architecture", "download"),
    holds="model = … and the options beside it, one key each, with [arguments] as a table",
    example="--model net.toml --data mine.npz",
)
