"""What stands around anybody's model so that it takes pixels in [0, 1] and answers with logits of the data's labels."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ibrobust.errors import BadInput, shortened
from ibrobust.images import frozen
from ibrobust.models.answers import logits_in
from ibrobust.models.calls import asked_as_it_is, undisturbed
from ibrobust.python_files import said


class Normalised(nn.Module):
    """(x − mean) / std per channel, then the model."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Any:
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if numbers.shape[1] not in (1, x.shape[1]):
                raise BadInput(f"{name} has {numbers.shape[1]} numbers, and the images have {x.shape[1]} channels")
        return self.model((x - self.mean.to(x.dtype)) / self.std.to(x.dtype))


class OutputsOf(nn.Module):
    """Some outputs of a model, in the order of the data's labels."""

    def __init__(self, model: nn.Module, outputs: Sequence[int]) -> None:
        super().__init__()
        self.model, self.most = model, max(outputs)
        self.runs: list[tuple[int, int]] = []
        """First and last + 1 of outputs that follow each other: slices, which certificates can follow."""
        for output in outputs:
            first = self.runs.pop()[0] if self.runs and self.runs[-1][1] == output else output
            self.runs.append((first, output + 1))

    def forward(self, x: Tensor) -> Any:
        logits, _ = logits_in(self.model(x))
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            return logits
        if logits.shape[1] <= self.most:
            raise BadInput(f"classes names output {self.most}; the model has {logits.shape[1]} outputs, from 0")
        return torch.cat([logits[:, first:last] for first, last in self.runs], dim=1)


class InBatchesOf(nn.Module):
    """A model that only takes batches of one size; the last one is filled up with its own last image."""

    def __init__(self, model: nn.Module, size: int) -> None:
        super().__init__()
        self.model, self.size = model, size

    def forward(self, x: Tensor) -> Any:
        missing = -len(x) % self.size
        whole = torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing else x
        logits = [logits_in(self.model(batch))[0] for batch in torch.split(whole, self.size)]
        return torch.cat(logits)[: len(x)]


def adapted(
    model: nn.Module,
    pixels: tuple[Sequence[float], Sequence[float]] | None,
    outputs: Sequence[int] | None,
    shape: tuple[int, int, int] | None,
    what: str,
    say: Callable[[str], None],
) -> nn.Module:
    """The model itself, or with a normalisation in front and the outputs of the data's labels behind it.

    Args:
        outputs: the model's output for each label.
        shape: (C, H, W) of the images, where it is known: the model is asked once then.

    Raises:
        BadInput: what is put around the model does not fit it, or the images.
    """
    if pixels:
        model = Normalised(model, *pixels)
    if outputs is None:
        return model
    if shape:
        say_how_it_answers(model, shape, what, say)
    model = OutputsOf(model, outputs)
    if shape:
        say_how_it_answers(model, shape, what, say)
    return model


@undisturbed()
def say_how_it_answers(model: nn.Module, shape: tuple[int, int, int], what: str, say: Callable[[str], None]) -> None:
    """What is taken of a model's answer to one image, where it is not a tensor.

    Raises:
        BadInput: the model raised.
    """
    try:
        with frozen(model), torch.no_grad():
            answer = asked_as_it_is(model)(torch.full((1, *shape), 0.5))
    except BadInput as error:
        raise BadInput(f"{what}: {error}") from error
    except Exception as error:
        raise BadInput(f"{what}: it raised {said(error)} on images of shape {shape}") from error
    if how := logits_in(answer)[1]:
        say(how)


def class_map(classes: Path | Sequence[int], class_names: Sequence[str]) -> tuple[int, ...]:
    """The model's output for each label of the data.

    Args:
        classes: the outputs themselves, or a file: a line for each label with the number of its output, which the name
            of the class may stand in front of; or JSON, a list of outputs or an object from names to outputs.
        class_names: the data's classes, by label; labels themselves will do as names.

    Raises:
        BadInput: the file cannot be read, a class is missing or unknown, or two have one output.
    """
    if not isinstance(classes, Path):
        return _distinct([*classes], "classes")
    where = f"classes {str(classes)!r}"
    try:
        text = classes.read_text(encoding="utf-8")
        listed = json.loads(text) if classes.suffix == ".json" else _lines(text, where)
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{where} cannot be read: {error}") from error
    if isinstance(listed, Mapping):
        listed = _by_label(listed, class_names, where)
    if not isinstance(listed, list):
        raise BadInput(f"{where}: it holds neither a list of outputs nor an object from names to outputs")
    if class_names and len(listed) != len(class_names):
        raise BadInput(f"{where}: it has {len(listed)} classes and the data {len(class_names)}")
    return _distinct(listed, where)


def _lines(text: str, where: str) -> dict[str, int] | list[int]:
    """Outputs by line, or by name where lines have names."""
    named: dict[str, int] = {}
    outputs: list[int] = []
    for line in (stripped for raw in text.splitlines() if (stripped := raw.partition("#")[0].strip())):
        *words, number = line.replace("\t", " ").replace(",", " ").split()
        if not number.isdecimal():
            raise BadInput(
                f"{where}: line {shortened(line)!r}; write NAME OUTPUT, or the OUTPUT of each label in order"
            )
        if (name := " ".join(words)) in named:
            raise BadInput(f"{where}: {shortened(name)!r} comes twice")
        if name:
            named[name] = int(number)
        outputs.append(int(number))
    if named and len(named) != len(outputs):
        raise BadInput(f"{where}: some lines have a name and some have none")
    return named or outputs


def _by_label(outputs: Mapping[str, Any], class_names: Sequence[str], where: str) -> list[Any]:
    known = [name.replace(",", " ") for name in class_names] if set(class_names) & set(outputs) else []
    known = known or [str(label) for label in range(len(class_names) or len(outputs))]
    spelled = {" ".join(name.replace(",", " ").split()): output for name, output in outputs.items()}
    names = [" ".join(name.split()) for name in known]
    if unknown := [name for name in spelled if name not in names]:
        raise BadInput(
            f"{where}: the data has no class {shortened(unknown[0])!r}; it has {shortened(', '.join(names))}"
        )
    if missing := [name for name in names if name not in spelled]:
        raise BadInput(f"{where}: class {shortened(missing[0])!r} of the data is missing")
    return [spelled[name] for name in names]


def _distinct(outputs: Sequence[Any], where: str) -> tuple[int, ...]:
    for label, output in enumerate(outputs):
        if not isinstance(output, int) or isinstance(output, bool) or output < 0:
            raise BadInput(f"{where}: label {label} has {shortened(repr(output))}, which is no number of an output")
        if (first := outputs.index(output)) != label:
            raise BadInput(f"{where}: labels {first} and {label} both have output {output}")
    if len(outputs) < 2:
        raise BadInput(f"{where}: {len(outputs)} classes; at least two are needed")
    return tuple(outputs)
