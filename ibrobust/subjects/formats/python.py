"""Models that Python makes: a function, or a module, in a file or in a package."""

import inspect
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ibrobust.errors import BadInput
from ibrobust.models.answers import as_module
from ibrobust.python_files import beside, executed, said
from ibrobust.subjects.formats.interface import Format, Say
from ibrobust.subjects.formats.weights import with_weights


def _from_file(model: str, arguments: Mapping[str, Any], weights: Path | None, say: Say) -> nn.Module:
    """What a factory in a Python file returns; or the module that the name stands for.

    The file runs, so it has to be one you trust. It may import what lies beside it, and from its package.
    """
    file, _, name = model.rpartition(":")
    path, what = Path(file), f"model {model!r}"
    module = executed(path, module_name(path), what)
    made = _made(module, name, arguments, what=what, place=path, noun="file")
    return with_weights(made, weights, what, say)


def _from_package(model: str, arguments: Mapping[str, Any], weights: Path | None, say: Say) -> nn.Module:
    """The same from a module that Python's import finds, in the current folder first."""
    package, _, name = model.rpartition(":")
    what, here = f"model {model!r}", Path.cwd() / "here"
    try:
        with beside(here):
            module = import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{package}.".startswith(f"{error.name}."):
            raise BadInput(f"{what}: importing {package} raised {said(error)}") from error
        raise BadInput(f"{what}: there is no module {error.name!r}, here or installed") from error
    except (Exception, SystemExit) as error:
        raise BadInput(f"{what}: importing {package} raised {said(error)}") from error
    made = _made(module, name, arguments, what=what, place=here, noun="module")
    return with_weights(made, weights, what, say)


def _made(
    module: ModuleType, name: str, arguments: Mapping[str, Any], *, what: str, place: Path, noun: str
) -> nn.Module:
    factory = getattr(module, name, None)
    if isinstance(factory, nn.Module):
        if arguments:
            raise BadInput(
                f"{what}: {name} is a model already, so it takes no arguments such as {next(iter(arguments))}"
            )
        return factory
    if not callable(factory):
        listed = ", ".join(sorted(known for known, value in vars(module).items() if _makes(value, module))) or "none"
        raise BadInput(f"{what}: no function {name!r} in the {noun}; it defines {listed}")
    _require_arguments(factory, arguments, f"{what}: {name}")
    try:
        with beside(place):
            made = factory(**arguments)
    except (Exception, SystemExit) as error:
        raise BadInput(f"{what}: {name}() raised {said(error)}") from error
    return as_module(made, f"{what}: {name}() returned")


def _require_arguments(factory: Callable[..., Any], arguments: Mapping[str, Any], what: str) -> None:
    """Raises:
    BadInput: an argument that the function does not have; the message lists those that it has.
    """
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # Some functions that are not written in Python do not say.
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    if unknown := [key for key in arguments if key not in known]:
        raise BadInput(f"{what}() has no argument {unknown[0]!r}; it has {', '.join(known) or 'none'}")


def _makes(value: object, module: ModuleType) -> bool:
    """Whether a name in a file stands for a model, or for a function of its own that may make one."""
    return isinstance(value, nn.Module) or (callable(value) and getattr(value, "__module__", None) == module.__name__)


def _in_file(model: str) -> bool:
    file, _, factory = model.rpartition(":")
    return bool(file) and factory.isidentifier()


def _in_package(model: str) -> bool:
    package, _, factory = model.rpartition(":")
    dotted = re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", package)
    return bool(dotted) and factory.isidentifier() and not package.endswith(".py") and not Path(package).is_file()


def module_name(path: Path) -> str:
    """Under which a Python file's module is kept."""
    return f"ibrobust_foreign_{path.stem}"


PYTHON = Format(
    "FILE.py:FACTORY",
    accepts=_in_file,
    load=_from_file,
    name=lambda model: f"{Path(model.rpartition(':')[0]).stem}-{model.rpartition(':')[2]}",
    maker=lambda model: module_name(Path(model.rpartition(":")[0])),
    takes=("arguments", "weights", "say"),
    holds="what a function in a Python file returns, or a module that the file makes; the file runs",
    example="--model net.py:make --model-arg width=4 --data mine.npz",
)

PACKAGE = Format(
    "package.module:FACTORY",
    accepts=_in_package,
    load=_from_package,
    name=lambda model: model.replace(":", "-"),
    maker=lambda model: model.rpartition(":")[0],
    takes=("arguments", "weights", "say"),
    holds="the same in a package that Python can import",
    example="--model net:make --model-arg width=4 --data mine.npz",
)
