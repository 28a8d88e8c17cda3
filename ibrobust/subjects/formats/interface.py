"""What a form of models is: one entry for each that `--model` may have."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ibrobust.errors import BadInput
from ibrobust.python_files import said
from ibrobust.registry import Registry, extension_point
from ibrobust.subjects.formats.options import ModelOptions

Pixels = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation, per channel, of pixels in [0, 1]."""
Say = Callable[[str], None]
"""Told, in one line each, what was done to a model that its user may not expect."""


@dataclass(frozen=True)
class Format:
    """A form in which a model is kept and named.

    Attributes:
        written: how its texts look, for messages.
        accepts: whether a text is one of them.
        load: text → model. What `takes` names it is given by keyword, too.
        name: text → what results call the model.
        maker: text → the module in `sys.modules` that defines the model, whose code counts in the results' digests;
            without it the file that the text names counts.
        takes: of the options `arguments`, `weights`, `architecture` and `download`, those that say something here;
            `shape`, the images' (C, H, W) where it is known; `say`, which is told what a user may not expect.
        stands_for: (text, options) → the text and the options of the model that it is short for.
        also: (text, model) → what else of the model counts as its code.
        pixels: (text, model) → the normalisation that it was trained with, where its library says so.
        needs: libraries that it imports, and the extra of this package that installs them.
        holds: what it is, in a few words.
        names: the names of all models that it knows, where it knows them.
        example: words after `evaluate`.
    """

    written: str
    accepts: Callable[[str], bool]
    load: Callable[..., nn.Module]
    name: Callable[[str], str] = lambda text: Path(text).stem
    maker: Callable[[str], str] | None = None
    takes: tuple[str, ...] = ()
    stands_for: Callable[[str, ModelOptions], tuple[str, ModelOptions]] | None = None
    also: Callable[[str, nn.Module], str] | None = None
    pixels: Callable[[str, nn.Module], Pixels | None] | None = None
    needs: tuple[str, ...] = ()
    extra: str = ""
    holds: str = ""
    names: Callable[[], Sequence[str]] | None = None
    example: str = ""


FORMATS: Registry[Format] = extension_point("model format", Format)


def format_name(model: str) -> str:
    """The name of the format that a text is written in; the one that was registered last where several accept it.

    Raises:
        BadInput: there is none.
    """
    for name in reversed(list(FORMATS)):
        if FORMATS[name].accepts(model):
            return name
    raise BadInput(f"model {model!r}: write {', '.join(form.written for form in FORMATS.values())}")


def library(name: str, what: str, extra: str = "") -> ModuleType:
    """A library that only some formats need.

    Raises:
        BadInput: it is not installed, or cannot be imported.
    """
    try:
        return import_module(name)
    except ImportError as error:
        advice = f": pip install 'ibrobust[{extra}]'" if extra else ""
        raise BadInput(f"{what} needs {name}, which cannot be imported ({said(error)}){advice}") from error


@contextmanager
def no_number_drawn() -> Iterator[None]:
    """Inside the block a library may initialise weights that are replaced afterwards: PyTorch's generator stays where
    it was, and libraries warn of nothing."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def prefixed(prefix: str) -> Callable[[str], bool]:
    """Whether a text is `prefix:` with something behind it."""
    return lambda text: text.startswith(f"{prefix}:") and len(text) > len(prefix) + 1


def behind_prefix(text: str) -> str:
    """`timm:resnet18` → `resnet18`."""
    return text.partition(":")[2]


def of_library(prefix: str, library: str, takes: tuple[str, ...], **rest: Any) -> Format:
    """The form of models that a library knows by name, `prefix:NAME`.

    Args:
        takes: see `Format`, as for the rest.
    """
    of_name: dict[str, Any] = {"accepts": prefixed(prefix), "name": dashed, "maker": lambda _model: library}
    return Format(**{"written": f"{prefix}:NAME", "needs": (library,), **of_name, "takes": takes, **rest})


def dashed(text: str) -> str:
    """`timm:resnet18` → `timm-resnet18`."""
    prefix, _, name = text.partition(":")
    return f"{prefix}-{name.rstrip('/').rpartition('/')[2]}"


def missing_file(path: Path, what: str) -> None:
    """Raises:
    BadInput: there is no such file.
    """
    if not path.is_file():
        raise BadInput(f"{what}: there is no file {str(path)!r}")
