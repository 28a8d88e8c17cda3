"""What anybody's model is and answers: a module or a function; logits, or something that holds them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ibrobust.errors import BadInput

Classifier = nn.Module | Callable[[Any], Any]
"""What Python callers may hand in as a model."""

_SHOWN = 5


def logits_in(answer: Any) -> tuple[Any, str]:
    """The logits that a model's answer is or holds, and, where it only holds them, how, in words.

    Understood are objects with `.logits`, mappings with one tensor (or one called `logits`), and tuples and lists whose
    first entry is a tensor. What is none of these comes back as it is.
    """
    if isinstance(answer, Tensor):
        return answer, ""
    kind = f"it answers with an object of type {type(answer).__name__}, of which"
    if isinstance(logits := getattr(answer, "logits", None), Tensor):
        return logits, f"{kind} .logits is taken"
    if isinstance(answer, Mapping):
        tensors = {key: value for key, value in answer.items() if isinstance(value, Tensor)}
        chosen = ["logits"] if "logits" in tensors else list(tensors)
        if len(chosen) == 1:
            return tensors[chosen[0]], f"{kind} the entry {chosen[0]!r} is taken"
    if isinstance(answer, tuple | list) and answer and isinstance(answer[0], Tensor):
        return answer[0], f"{kind} the first of {len(answer)} entries is taken"
    return answer, ""


def described(answer: object) -> str:
    """What a model answered, for a message that refuses it: `a dict of 'a': shape (4, 3), 'b': an int`."""
    if answer is None:
        return "None"
    if isinstance(answer, Tensor):
        return f"shape {tuple(answer.shape)}"
    kind = f"an object of type {type(answer).__name__}"
    if isinstance(answer, Mapping):
        entries = [f"{key!r}: {_briefly(value)}" for key, value in answer.items()]
    elif isinstance(answer, tuple | list):
        entries = [_briefly(value) for value in answer]
    else:
        return kind
    more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return f"{kind} that holds {', '.join(entries[:_SHOWN]) or 'nothing'}{more}"


def _briefly(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


class _Function(nn.Module):
    """A function of images as a module; where it is a module's method, with that module's parameters."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        owner = getattr(function, "__self__", None)
        if isinstance(owner, nn.Module):
            self.owner = owner

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


class OfLabels(nn.Module):
    """A model that answers with labels, whole numbers (N,), as logits: 1 for the label and 0 for the other classes.
    Other answers are left as they are."""

    def __init__(self, model: nn.Module, classes: int) -> None:
        super().__init__()
        self.model, self.classes = model, classes

    def forward(self, x: Tensor) -> Any:
        answer = self.model(x)
        if not isinstance(answer, Tensor) or answer.ndim != 1 or answer.is_floating_point() or len(answer) != len(x):
            return answer
        if len(answer) and not 0 <= int(answer.min()) <= int(answer.max()) < self.classes:
            raise BadInput(
                f"the model answers with label {int(answer.max())}, and {self.classes} classes are known; say how many "
                "there are: ibrobust.foreign.labels_as_logits(model, classes=N)"
            )
        return nn.functional.one_hot(answer.long(), max(self.classes, 2)).to(torch.float32)


def labels_as_logits(model: Classifier, classes: int) -> nn.Module:
    """A model, or a function, that answers with labels, as one that answers with logits: for attacks that look at
    decisions alone.

    Raises:
        BadInput: there are fewer than two classes, or the model cannot be called.
    """
    if classes < 2:
        raise BadInput(f"classes {classes} is not 2 or more")
    return OfLabels(as_module(model), classes)


def as_module(model: object, what: str = "model is") -> nn.Module:
    """A model as a module: itself, or a function that is asked as it is.

    Args:
        what: the beginning of a message about what is neither.

    Raises:
        BadInput: it is a class, or cannot be called.
    """
    if isinstance(model, nn.Module):
        return model
    if isinstance(model, type):
        raise BadInput(f"{what} the class {model.__name__}, not an nn.Module; call it first: {model.__name__}()")
    if not callable(model):
        kind = "None" if model is None else f"an object of type {type(model).__name__}"
        raise BadInput(f"{what} {kind}, not an nn.Module or a function")
    return _Function(model)
