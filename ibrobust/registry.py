"""Extension points: a name, an entry, and a miss that lists the names."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ibrobust.errors import BadInput

Entry = TypeVar("Entry")


class Registry(dict[str, Entry]):
    """The entries of one extension point by name.

    Raises:
        BadInput: looking up a name that is not there; the message lists those that are.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def register(self, name: str) -> Callable[[Entry], Entry]:
        def keep(entry: Entry) -> Entry:
            self[name] = entry
            return entry

        return keep

    def __missing__(self, name: str) -> Entry:
        raise BadInput(f"no {self.kind} {name!r}; choose from {', '.join(sorted(self))}")


def declared_names(module: str, registry: str) -> list[str]:
    """The names that `ibrobust.<module>` registers, read from its source so that `--help` need not import torch."""
    place = Path(__file__).parent.joinpath(*module.split("."))
    files = [place.with_name(f"{place.name}.py"), *sorted(place.glob("*.py"))]
    declaration = re.compile(rf'^@?{registry}(?:\.register\(|\[)"([^"]+)"', re.MULTILINE)
    return sorted(
        name for file in files if file.exists() for name in declaration.findall(file.read_text(encoding="utf-8"))
    )
