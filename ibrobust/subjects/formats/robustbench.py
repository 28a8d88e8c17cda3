"""RobustBench's models by name: `robustbench:Carmon2019Unlabeled`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ibrobust.errors import BadInput
from ibrobust.python_files import said
from ibrobust.subjects.formats.interface import behind_prefix, library, of_library

_DEFAULTS = {"dataset": "cifar10", "threat_model": "Linf", "model_dir": "models"}


def _named(model: str, arguments: Mapping[str, Any], download: bool) -> nn.Module:
    """The model of a leaderboard: `dataset`, `threat_model` and the folder `model_dir` are arguments."""
    name, what = behind_prefix(model), f"model {model!r}"
    utils = library("robustbench.utils", what)
    if unknown := [key for key in arguments if key not in _DEFAULTS]:
        raise BadInput(f"{what}: no argument {unknown[0]!r}; it has {', '.join(_DEFAULTS)}")
    chosen = {**_DEFAULTS, **arguments}
    folder = Path(chosen["model_dir"]) / str(chosen["dataset"]) / str(chosen["threat_model"])
    if not download and not any(folder.glob(f"{name}*")):
        raise BadInput(f"{what}: its weights are not in {str(folder)!r}; download (--download) fetches them there")
    try:
        module: nn.Module = utils.load_model(model_name=name, **chosen)
    except (KeyError, ValueError, TypeError, RuntimeError, OSError, AssertionError) as error:
        raise BadInput(f"{what}: RobustBench raised {said(error)}") from error
    return module


ROBUSTBENCH = of_library(
    "robustbench",
    "robustbench",
    ("arguments", "download"),
    load=_named,
    holds="a model of RobustBench's leaderboards; its library is installed from its repository",
    example="--model robustbench:Carmon2019Unlabeled --model-arg threat_model=Linf --data cifar10",
)
