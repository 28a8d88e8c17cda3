"""A folder of results as it lies on disk: `PROTOCOL/NAME.parquet`, and the images that prove them beside it as
`PROTOCOL/images/NAME.parquet`."""

from collections.abc import Sequence
from pathlib import Path

from ibrobust.errors import BadInput
from ibrobust.files import entries, in_zoo, released_zoo, rest_of_zoo

IMAGES = "images"


def result_files(folder: Path) -> list[Path]:
    """The results below a folder: a Parquet file each, in a folder for each protocol.

    Raises:
        OSError: a folder may not be read; its `filename` is the folder.
    """
    return [path for place in entries(folder) if place.name != IMAGES for path in _tables(place)]


def results_folder(given: Path) -> Path:
    """The folder that a caller names; `zoo` is that of the released results."""
    return released_zoo() / "results" if str(given) == "zoo" else in_zoo(given)


def require_results_folders(places: Sequence[Path]) -> None:
    """Refuse what is no folder of results, rather than read nothing in it. An empty folder is one.

    Raises:
        BadInput: a place is not there, is a file, lies inside a folder of results, or holds such folders.
    """
    for place in places:
        if fault := what_is_wrong(place):
            raise BadInput(f"no results in {place}: {fault}")


def what_is_wrong(given: Path) -> str:
    """Why a path is none of a folder of results, and which one is meant, in words; empty where it may be one."""
    folder = results_folder(given)
    if result_files(folder):
        return ""
    if not folder.exists():
        what = "file" if given.suffix == ".parquet" else "folder"
        return f"there is no such {what}; evaluate writes it{rest_of_zoo([given])}"
    if not folder.is_dir():
        return "it is a file, not a folder"
    if _tables(folder):
        return f"it lies inside a folder of results; name {_around(given)}"
    inside = [place.name for place in entries(folder) if not place.name.startswith(".") and _holds_results(place)]
    return f"it holds folders of results; name {', '.join(str(given / name) for name in inside)}" if inside else ""


def _around(given: Path) -> Path:
    """The folder of results around that of a protocol, or around the images in one."""
    above = _above(given)
    return _above(above) if _tables(results_folder(above)) else above


def _above(path: Path) -> Path:
    return path / ".." if path.name in ("", "..") else path.parent


def _tables(folder: Path) -> list[Path]:
    return [path for path in entries(folder) if path.suffix == ".parquet"]


def _holds_results(folder: Path) -> bool:
    """A folder that may not be read holds none."""
    try:
        return bool(result_files(folder))
    except OSError:
        return False
