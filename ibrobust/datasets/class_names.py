"""Numbers of classes that are given as names: of the folders of all parts together."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from ibrobust.errors import BadInput

_LISTS = ("labels.txt", "classes.txt")


def numbered_classes(names: Iterable[str], folder: Path, *, parts: Iterable[Path] = ()) -> tuple[str, ...]:
    """The names in the order of their labels: by value where all are numbers (10 after 2), else as text.

    Args:
        folder, parts: where a `labels.txt` or `classes.txt` may stand.

    Raises:
        BadInput: two names differ in case alone; numbers from 0 or 1 on have a gap, so that a class that is missing
            would shift those after it; such a list numbers the same classes otherwise.
    """
    distinct = sorted(set(names))
    where = f"folder {str(folder)!r}"
    for name in distinct:
        if any(0xD800 <= ord(character) < 0xE000 for character in name):
            raise BadInput(f"{where}: the name of class folder {name!r} is not UTF-8")
    numbers = all(re.fullmatch("[0-9]+", name) for name in distinct)
    known: dict[str, str] = {}
    for name in distinct:
        other = known.setdefault(str(int(name)) if numbers else unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise BadInput(f"{where}: classes {other!r} and {name!r} differ in case or spelling alone; rename one")
    ordered = sorted(distinct, key=int) if numbers else distinct
    if numbers:
        _require_no_gap([int(name) for name in ordered], where)
    for place in (folder, *parts):
        _require_no_other_order(ordered, place)
    return tuple(ordered)


def _require_no_gap(numbers: list[int], where: str) -> None:
    for expected, number in enumerate(numbers, numbers[0]):
        if number != expected and numbers[0] in (0, 1):
            raise BadInput(
                f"{where}: classes are named by numbers, and {expected} is missing; make an empty folder {expected} if "
                "it is a class without images here, or give the classes names"
            )


def _require_no_other_order(ordered: list[str], folder: Path) -> None:
    """Lists of other things, such as a label per image, say nothing about the order of classes."""
    for file in (folder / name for name in _LISTS):
        if not file.is_file():
            continue
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        listed = [name for line in lines if (name := line.strip())]
        for names in (listed, [re.sub(r"^\d+[\s:,;]+", "", line) for line in listed]):
            if sorted(names) == sorted(ordered) and names != ordered:
                at = next(index for index, name in enumerate(ordered) if names[index] != name)
                raise BadInput(
                    f"{str(file)!r} names {names[at]!r} as class {at}, but by the folders' names {ordered[at]!r} is; "
                    "rename the folders, or remove the list"
                )
