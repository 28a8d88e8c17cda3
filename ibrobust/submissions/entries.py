"""`leaderboard/entries/`: one file for each submission, so that two never conflict."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ibrobust.errors import BadInput
from ibrobust.files import alone_in, entries, written_whole
from ibrobust.submissions.archive import record_of, unpacked

SUFFIX = ".zip"


def add_entry(file: Path, run: str, folder: Path) -> tuple[Path, bool]:
    """Copy a checked submission into the folder, under its run's name.

    Returns:
        Where it is, and whether it was added: the same submission again changes nothing.

    Raises:
        BadInput: another submission of that name is there, or one whose name differs in case alone.
    """
    target = folder / f"{run}{SUFFIX}"
    with alone_in(folder):
        for path in _files(folder):
            if path.name.casefold() != target.name.casefold():
                continue
            if path.name == target.name and record_of(path) == record_of(file):
                return path, False
            raise BadInput(
                f"{file}: {path} is another submission of that name; withdraw that one first, or evaluate under "
                "another name (--name)"
            )
        with written_whole(target) as unfinished:
            shutil.copyfile(file, unfinished)
    return target, True


@contextmanager
def result_folders(places: Sequence[Path]) -> Iterator[list[Path]]:
    """The places themselves, and instead of each submission, or folder of submissions, a temporary folder with the
    results of each, which goes when the block ends.

    Raises:
        BadInput: a submission is not whole.
    """
    with ExitStack() as opened:
        found: list[Path] = []
        for place in places:
            files = [place] if place.is_file() and place.suffix == SUFFIX else _files(place)
            found += [opened.enter_context(_opened(file)) for file in files]
            if not files or any(path.is_dir() for path in entries(place)):
                found.append(place)
        yield found


@contextmanager
def _opened(file: Path) -> Iterator[Path]:
    with unpacked(file) as submission:
        yield submission.folder / "results"


def _files(folder: Path) -> list[Path]:
    return [path for path in entries(folder) if path.suffix == SUFFIX and path.is_file()]
