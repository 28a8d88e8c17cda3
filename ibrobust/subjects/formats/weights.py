"""Files of weights: read without running code in them, and put into a model that they fit to the last key."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ibrobust.errors import BadInput, ran_out_of_memory, shortened
from ibrobust.python_files import said

State = dict[str, Tensor]

_ENTRIES = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "module")
"""What the dictionary of weights is called within a checkpoint."""
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
"""What wrappers (DataParallel, torch.compile, training frameworks) put in front of every key."""


def with_weights(model: nn.Module, file: Path | None, what: str, say: Callable[[str], None]) -> nn.Module:
    """The model, with the weights in the file where one is named.

    Args:
        what: what a message calls the model.
        say: told what had to be done for them to fit.

    Raises:
        BadInput: the file cannot be read or does not fit; the message names the first key that differs.
    """
    if file is None:
        return model
    where = f"{what}: weights {str(file)!r}"
    state = _without_prefix(_state_in(file, where, say), model, say)
    _require_fitting(state, model, where)
    try:
        model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise BadInput(f"{where} cannot be put into the model: {said(error)}") from error
    return model


def _state_in(file: Path, where: str, say: Callable[[str], None]) -> State:
    if not file.is_file():
        raise BadInput(f"{where}: there is no such file")
    content = _content(file, where)
    while isinstance(content, Mapping):
        entry = next((name for name in _ENTRIES if isinstance(content.get(name), Mapping)), None)
        if entry is None:
            break
        say(f"of {file.name} the entry {entry!r} is taken, beside {shortened(', '.join(map(str, content)))}")
        content = content[entry]
    tensors = {str(key): value for key, value in content.items()} if isinstance(content, Mapping) else {}
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        others = [f"{key!r}: {type(value).__name__}" for key, value in tensors.items() if not isinstance(value, Tensor)]
        held = shortened(", ".join(others)) or f"an object of type {type(content).__name__}"
        raise BadInput(f"{where} hold no dictionary of tensors, but {held}")
    return tensors


def _content(file: Path, where: str) -> Any:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadInput(
            f"{where} hold pickled objects, or are damaged; what could run code is not read: save model.state_dict()"
        ) from error
    except Exception as error:  # torch.load raises whatever the bytes of a file that is none of its own lead to
        if ran_out_of_memory(error):
            raise
        reader = "safetensors" if file.suffix == ".safetensors" else "torch.load"
        raise BadInput(f"{where} are no file that {reader} can read: {said(error)}") from error


def _without_prefix(state: State, model: nn.Module, say: Callable[[str], None]) -> State:
    wanted = set(model.state_dict())
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in state) and not wanted & set(state):
            say(f"the keys of the weights are taken without their prefix {prefix!r}")
            return _without_prefix({key.removeprefix(prefix): value for key, value in state.items()}, model, say)
    return state


def _require_fitting(state: State, model: nn.Module, where: str) -> None:
    """Raises:
    BadInput: a tensor is missing, has another shape or kind of numbers, or has no place.
    """
    wanted = {key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)}
    places = {value.data_ptr() for key, value in wanted.items() if key in state}
    differing = []
    for key, value in wanted.items():
        if key not in state:
            tied = value.numel() > 0 and value.data_ptr() in places  # safetensors keeps what is shared once.
            if not tied and not key.endswith("num_batches_tracked"):
                differing.append(f"{key!r} is missing")
        elif state[key].shape != value.shape:
            shapes = f"{tuple(state[key].shape)} in the file and {tuple(value.shape)} in the model"
            differing.append(f"{key!r} is {shapes}")
        elif state[key].is_floating_point() != value.is_floating_point():
            differing.append(f"{key!r} is {state[key].dtype} in the file and {value.dtype} in the model")
    differing += [f"the model has no {key!r}" for key in state if key not in wanted]
    if differing:
        more = f"; {len(differing) - 1} more keys differ" if differing[1:] else ""
        raise BadInput(f"{where} do not fit: {shortened(differing[0])}{more}")
