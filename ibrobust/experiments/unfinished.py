"""Where the finished blocks of a result wait for the others: a folder that one process holds at a time."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ibrobust.errors import BadInput
from ibrobust.files import held, let_go

FOLDER = ".unfinished"
"""Beside the results, a folder for each result that is not whole yet."""

_BLOCK = re.compile(r"(\d+)-(\d+)\.parquet")

Loaded = TypeVar("Loaded")


@dataclass
class Unfinished:
    """The finished blocks of one result.

    Attributes:
        folder: for the file `results/paper/RUN.parquet` it is `results/paper/.unfinished/RUN`.
    """

    folder: Path
    _handle: int | None = None
    _made: list[Path] = field(default_factory=list)

    def hold(self) -> bool:
        """Whether this process holds the folder now; False while another one does."""
        if self._handle is None:
            missing = [place for place in (self.folder, *self.folder.parents) if not place.exists()]
            self._handle = held(self.folder)
            self._made = missing if self._handle is not None else []
        return self._handle is not None

    def release(self) -> None:
        """Let go of it; finished blocks stay, and folders in which there are none go."""
        if self._handle is not None:
            with suppress(OSError):
                for place in self._made:
                    place.rmdir()
            let_go(self._handle)
            self._handle = None

    def remove(self) -> None:
        """Remove all blocks, which nobody needs any more, unless another process holds the folder."""
        if self.folder.is_dir() and self.hold():
            shutil.rmtree(self.folder, ignore_errors=True)
            with suppress(OSError):  # There are others.
                for place in self.folder.parents:
                    place.rmdir()
                    if place.name == FOLDER:
                        break
            self.release()

    def path(self, rows: range) -> Path:
        """The file of a block."""
        return self.folder / f"{rows.start}-{rows.stop}.parquet"

    def blocks(self, among: range, load: Callable[[Path, range], Loaded | None]) -> Iterator[tuple[range, Loaded]]:
        """Blocks that lie among the samples and do not overlap, in order, and what is loaded of each.

        Args:
            load: gives None for a block that is of no use: of other settings, or another version.
        """
        end = among.start
        for rows in sorted(self._there(), key=lambda rows: (rows.start, -rows.stop)):
            if end <= rows.start < rows.stop <= among.stop:
                with suppress(BadInput):  # A file that is damaged is of no use either.
                    if (loaded := load(self.path(rows), rows)) is not None:
                        yield rows, loaded
                        end = rows.stop

    def _there(self) -> Iterator[range]:
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if match := _BLOCK.fullmatch(path.name):
                yield range(int(match[1]), int(match[2]))


@dataclass
class Gaps:
    """The samples that no block was made of yet, in order."""

    ranges: list[range]

    @classmethod
    def between(cls, whole: range, blocks: list[range]) -> "Gaps":
        """What of the whole lies in none of the blocks, which are in order and do not overlap."""
        edges = [whole.start, *(edge for rows in blocks for edge in (rows.start, rows.stop)), whole.stop]
        return cls([range(*pair) for pair in zip(edges[::2], edges[1::2], strict=True) if pair[0] < pair[1]])

    @property
    def left(self) -> int:
        return sum(map(len, self.ranges))

    def take(self, size: int) -> range | None:
        """The next samples, about so many in a row; None where none are left."""
        if not self.ranges:
            return None
        first = self.ranges[0]
        taken = first[:size]
        self.ranges[:1] = [first[size:]] if len(first) > size else []
        return taken
