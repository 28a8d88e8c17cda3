"""Python files that a user names: run once, and known by the files that they consist of."""

import ast
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
    it.

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
    """Inside the block imports find what lies in the file's folder first."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


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
