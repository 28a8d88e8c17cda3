"""Files that are either whole or not there."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ibrobust.errors import BadInput


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name in the same folder to write to; flushed and renamed to `path` when the block ends well.

    Raises:
        BadInput: the folder cannot be written.
    """
    require_writable(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as handle:
        unfinished = Path(handle.name)
    try:
        yield unfinished
        with open(unfinished, "rb") as finished:
            os.fsync(finished.fileno())
        unfinished.chmod(0o666 & ~_umask())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def require_writable(folder: Path) -> None:
    """Leaves nothing behind, not even the folder: whatever else is wrong with the input comes to light later.

    Raises:
        BadInput: it cannot be made or written.
    """
    try:
        nearest = next(place for place in (folder, *folder.parents) if place.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise BadInput(f"folder {str(folder)!r} cannot be written: {error.strerror}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
