"""Models by the text that names them: one entry for each form that `--model` may have."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from torch import nn

from ibrobust.errors import BadInput
from ibrobust.python_files import beside, executed, said
from ibrobust.registry import Registry, extension_point
from ibrobust.subjects.digests import digests


@dataclass(frozen=True)
class Format:
    """A form in which a model is kept and named.

    Attributes:
        written: how its texts look, for messages.
        accepts: whether a text is one of them.
        load: text → model.
        name: text → what results call the model.
        maker: text → the module in `sys.modules` that defines the model, whose code counts in the results' digests;
            without it the file that the text names counts.
    """

    written: str
    accepts: Callable[[str], bool]
    load: Callable[[str], nn.Module]
    name: Callable[[str], str] = lambda text: Path(text).stem
    maker: Callable[[str], str] | None = None


FORMATS: Registry[Format] = extension_point("model format", Format)


def format_name(model: str) -> str:
    """The name of the format that a text is written in; the one that was registered last where several accept it.

    Raises:
        BadInput: there is none.
    """
    for name in reversed(list(FORMATS)):
        if FORMATS[name].accepts(model):
            return name
    raise BadInput(f"model {model!r}: write {' or '.join(form.written for form in FORMATS.values())}")


def load_model(model: str) -> nn.Module:
    """The model that a text names.

    Raises:
        BadInput: no format knows the text, or it does not lead to an `nn.Module`.
    """
    name = format_name(model)
    try:
        loaded = FORMATS[name].load(model)
    except BadInput:
        raise
    except (Exception, SystemExit) as error:
        raise BadInput(f"model {model!r}: the format {name!r} raised {said(error)}") from error
    return _module(loaded, f"model {model!r}: the format {name!r}")


def digests_of_model(model: str, loaded: nn.Module) -> dict[str, str]:
    """`digests` of a model that a text has led to."""
    form = FORMATS[format_name(model)]
    if form.maker:
        return digests(loaded, form.maker(model))
    return digests(loaded, None, Path(model) if Path(model).is_file() else None)


def _module(made: object, what: str) -> nn.Module:
    if not isinstance(made, nn.Module):
        kind = "None" if made is None else f"an object of type {type(made).__name__}"
        raise BadInput(f"{what} returned {kind}, not an nn.Module")
    return made


def _from_factory(model: str) -> nn.Module:
    """What a factory in a Python file returns, called without arguments; or the module that the name stands for.

    The file runs, so it has to be one you trust. It may import what lies beside it, and from its package.
    """
    file, _, name = model.rpartition(":")
    path, what = Path(file), f"model {model!r}"
    module = executed(path, module_name(path), what)
    factory = getattr(module, name, None)
    if isinstance(factory, nn.Module):
        return factory
    if not callable(factory):
        listed = ", ".join(sorted(known for known, value in vars(module).items() if _makes(value, module))) or "none"
        raise BadInput(f"{what}: no function {name!r} in the file; it defines {listed}")
    try:
        with beside(path):
            made = factory()
    except (Exception, SystemExit) as error:
        raise BadInput(f"{what}: {name}() raised {said(error)}") from error
    return _module(made, f"{what}: {name}()")


def _makes(value: object, module: ModuleType) -> bool:
    """Whether a name in a file stands for a model, or for a function of its own that may make one."""
    return isinstance(value, nn.Module) or (callable(value) and getattr(value, "__module__", None) == module.__name__)


def _names_a_factory(model: str) -> bool:
    file, _, factory = model.rpartition(":")
    return bool(file) and factory.isidentifier()


def module_name(path: Path) -> str:
    """Under which a Python file's module is kept."""
    return f"ibrobust_foreign_{path.stem}"


PYTHON = Format(
    "FILE.py:FACTORY",
    accepts=_names_a_factory,
    load=_from_factory,
    name=lambda model: f"{Path(model.rpartition(':')[0]).stem}-{model.rpartition(':')[2]}",
    maker=lambda model: module_name(Path(model.rpartition(":")[0])),
)
