"""Plugins: Python files and installed packages that register extensions, the same in every process."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from ibrobust.errors import BadInput
from ibrobust.python_files import executed, files_of, said
from ibrobust.registry import EXTENSION_POINTS

GROUP = "ibrobust.plugins"
"""The entry-point group in which an installed package names a module to import or a function to call."""


@dataclass(frozen=True)
class Plugin:
    """A plugin that is loaded.

    Attributes:
        name: the file's name, or the entry point's.
        path: the file that `--plugin` named; None for an installed package, which every process finds by itself.
        digests: SHA-256 of its file by name; those of files that it imports from beside it as `name/file`.
    """

    name: str
    path: Path | None
    digests: dict[str, str]


_LOADED: dict[str, Plugin] = {}
"""What is loaded in this process, by name."""


def load_plugins(files: Iterable[str | Path] = ()) -> None:
    """Load the plugins of installed packages, then these files, each once in a process.

    Raises:
        BadInput: a file is missing or raises, registers nothing or a name that is taken, or is called as another
            plugin is; nothing of it is registered then.
    """
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        if entry.name not in _LOADED:
            _LOADED[entry.name] = _installed(entry)
    for file in map(Path, files):
        path = file.resolve()
        known = _LOADED.get(file.name)
        if known is None:
            _LOADED[file.name] = _from_file(path)
        elif known.path != path:
            raise BadInput(f"plugin {str(file)!r}: another plugin is called {file.name} already; rename one of them")
        elif known.digests[file.name] != _sha256(path):
            raise BadInput(f"plugin {str(file)!r} has changed since it was loaded; start again")


def load_the_same(plugins: Sequence[Plugin]) -> None:
    """Load in this process what another process has loaded.

    Raises:
        BadInput: as `load_plugins`, or a plugin is not the same here.
    """
    load_plugins(plugin.path for plugin in plugins if plugin.path)
    for plugin in plugins:
        here = _LOADED.get(plugin.name)
        if here is None or here.digests != plugin.digests:
            raise BadInput(f"plugin {plugin.name} is not the same in every process: it was changed or is not installed")


def loaded_plugins() -> list[Plugin]:
    """What is loaded in this process, in order."""
    return list(_LOADED.values())


def digests_of(used: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What a card says about the plugins that something is made with: SHA-256 by name.

    Args:
        used: the kinds and names of what was looked up, as ("attack", "pgd"); the package's own have no plugin.
    """
    origins = {origin for kind, name in used if (origin := EXTENSION_POINTS[kind].origins.get(name))}
    return {file: digest for name in sorted(origins) for file, digest in _LOADED[name].digests.items()}


def _from_file(path: Path) -> Plugin:
    what, module = f"plugin {path.name!r}", f"ibrobust_plugin_{path.stem}"
    with _registered_by(path.name, what):
        executed(path, module, what)
    beside = {f"{path.name}/{file.name}": _sha256(file) for file in sorted(files_of([module]) - {path})}
    return Plugin(path.name, path, {path.name: _sha256(path), **beside})


def _installed(entry: EntryPoint) -> Plugin:
    what = f"installed plugin {entry.name!r} ({entry.value})"
    with _registered_by(entry.name, what):
        try:
            found = entry.load()
            if callable(found):
                found()
        except (Exception, SystemExit) as error:
            raise BadInput(f"{what}: {error if isinstance(error, BadInput) else said(error)}") from error
    origin = getattr(find_spec(entry.module), "origin", None)
    return Plugin(entry.name, None, {entry.name: _sha256(Path(origin))} if origin else {})


@contextmanager
def _registered_by(name: str, what: str) -> Iterator[None]:
    """What the block registers is the plugin's; if the block fails, none of it stays."""
    before = {kind: set(registry) for kind, registry in EXTENSION_POINTS.items()}

    def new() -> Iterator[tuple[str, str]]:
        for kind, registry in EXTENSION_POINTS.items():
            yield from ((kind, added) for added in registry if added not in before[kind])

    try:
        yield
        if not any(True for _ in new()):
            raise BadInput(f"{what} registers nothing; it may add to {', '.join(EXTENSION_POINTS)}")
    except BaseException:
        for kind, added in list(new()):
            del EXTENSION_POINTS[kind][added]
        raise
    for kind, added in new():
        EXTENSION_POINTS[kind].origins[added] = name


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
