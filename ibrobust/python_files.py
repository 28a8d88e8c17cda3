"""Python files that a user names: run once, and known by the files that they consist of."""

import ast
import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from ibrobust.errors import BadInput

_INSTALLED = {Path(folder).resolve() for folder in sysconfig.get_paths().values()} | {Path(__file__).parent}
"""Where code lies whose version the card names: Python's own, packages, and this one."""


def executed(path: Path, name: str, what: str) -> ModuleType:
    """The module that a file defines, run anew and kept under `name` in `sys.modules`.

    It is compiled from its text: a cache of compiled files may hold an older one. The file may import what lies beside
    it and, where it is part of a package, from that package.

    Args:
        what: what a message calls the file, as `plugin 'mine.py'`.

    Raises:
        BadInput: there is no such Python file, or it raises.
    """
    if not path.is_file():
        raise BadInput(f"{what}: there is no file {str(path)!r}")
    spec = importlib.util.spec_from_file_location(name, path)
    if path.suffix != ".py" or spec is None:
        raise BadInput(f"{what}: {path.name!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with beside(path):
            if (package := _package_of(path)) is not None:
                importlib.import_module(package)
                module.__package__, module.__spec__ = package, None
            exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, BadInput):
            raise BadInput(f"{what}: {error}") from error
        if isinstance(error, Exception | SystemExit):
            raise BadInput(f"{what}: the file raised {said(error)}") from error
        raise
    return module


@contextmanager
def beside(path: Path) -> Iterator[None]:
    """Inside the block imports find what lies in the file's folder, and in the folder of its package, first; modules of
    the same names from other folders are forgotten."""
    folders = list(dict.fromkeys([path.resolve().parent, _top_folder(path)]))
    for folder in folders:
        _forget_namesakes(folder)
    sys.path[:0] = [str(folder) for folder in folders]
    try:
        yield
    finally:
        for folder in folders:
            sys.path.remove(str(folder))


def _top_folder(path: Path) -> Path:
    """The folder that the outermost package around a file lies in."""
    folder = path.resolve().parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _package_of(path: Path) -> str | None:
    """The dotted name of the package that a file is part of, if any."""
    return ".".join(path.resolve().parent.relative_to(_top_folder(path)).parts) or None


def _forget_namesakes(folder: Path) -> None:
    """Two models may each have a `layers.py` beside them: the second is not to get the first one's."""
    for name in {entry.stem for entry in folder.iterdir()} & set(sys.modules):
        place = Path(getattr(sys.modules[name], "__file__", None) or folder / name).resolve()
        if not place.is_relative_to(folder) and not any(place.is_relative_to(there) for there in _INSTALLED):
            for other in [known for known in sys.modules if known == name or known.startswith(f"{name}.")]:
                del sys.modules[other]


def said(error: BaseException) -> str:
    """An exception as one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def files_of(modules: Iterable[str]) -> set[Path]:
    """The Python files of these modules, and of what they import that is not installed."""
    seen: dict[str, Path] = {}
    waiting = set(modules)
    while waiting:
        name = waiting.pop()
        module = sys.modules.get(name)
        path = Path(getattr(module, "__file__", None) or "")
        if module is None or name in seen or path.suffix != ".py" or not path.is_file():
            continue
        if not any(path.resolve().is_relative_to(folder) for folder in _INSTALLED):
            seen[name] = path.resolve()
            waiting |= set(_imported(path, module.__package__ or ""))
    return set(seen.values())


def _imported(path: Path, package: str) -> Iterator[str]:
    """Names that its import statements may mean, wherever in the file they stand."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (package or not node.level):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)
