"""Arrays of `.npz` and `.npy` files, read as data alone: nothing is unpickled, no more is read than a file declares.

Arrays that are large and not compressed stay where they are and are mapped into memory when they are looked at.
"""

import math
import os
import warnings
import zipfile
from collections.abc import Sequence
from functools import partial
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ibrobust.datasets import interface
from ibrobust.datasets.arrays import StoredArray
from ibrobust.errors import BadInput, one_line

_READ_AT_A_TIME = 2**24


Array = NDArray[np.generic] | StoredArray


def npz_arrays(file: Path, wanted: Sequence[str]) -> tuple[dict[str, Array], list[str]]:
    """Those of the wanted arrays that are in the file, and the names of everything in it.

    Raises:
        BadInput: the file cannot be read, or an array in it is cut off, damaged, not of numbers or larger than this
            machine's memory; one line that names the file and the array.
    """
    if not file.is_file():
        raise BadInput(f"data {str(file)!r} {'is not a file' if file.exists() else 'is not there'}")
    with warnings.catch_warnings(action="ignore"):  # about headers that are odd, or that Python 2 wrote
        try:
            with zipfile.ZipFile(file) as archive:
                members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
                present = {key: members[key] for key in wanted if key in members}
                _require_memory(file, present)
                return {key: _array(archive, info, file, key) for key, info in present.items()}, sorted(members)
        except BadInput:
            raise
        except Exception as error:  # zipfile and zlib raise ten kinds of errors on damaged bytes
            raise BadInput(f"data {str(file)!r} cannot be read as an .npz file: {_in_one_line(error)}") from error


def npy_array(file: Path) -> StoredArray:
    """The array of an `.npy` file, which stays there.

    Raises:
        BadInput: as `npz_arrays`.
    """
    name = f"data {str(file)!r}"
    if not file.is_file():
        raise BadInput(f"{name} {'is not a file' if file.exists() else 'is not there'}")
    with warnings.catch_warnings(action="ignore"), file.open("rb") as stream:
        shape, by_columns, dtype = _checked_header(stream, file.stat().st_size, name)
        return StoredArray(file, stream.tell(), shape, dtype, by_columns)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: Path, key: str) -> Array:
    name = f"data {str(file)!r}: {key}"
    if not info.filename.endswith(".npy"):
        raise BadInput(f"{name} is not an array but a file called {info.filename!r}")
    with archive.open(info) as member:
        assert isinstance(member, zipfile.ZipExtFile), "zipfile promises any IO[bytes]"
        shape, by_columns, dtype = _checked_header(member, info.file_size, name)
        if _stays(info):
            offset = _place(file, info) + member.tell()
            return StoredArray(file, offset, shape, dtype, by_columns, partial(_require_whole, file, info, name))
        try:
            values = _values(member, math.prod(shape), dtype)
        except MemoryError as error:
            declared = math.prod(shape) * dtype.itemsize
            raise BadInput(f"{name} needs {declared / 1e9:.3g} GB of memory, which is not there") from error
        except Exception as error:
            raise BadInput(f"{name} is cut off or damaged: {_in_one_line(error)}") from error
    return values.reshape(shape[::-1]).T if by_columns else values.reshape(shape)


def _stays(member: zipfile.ZipInfo) -> bool:
    """Whether an array is read block by block: it is large, and lies in the archive as it is."""
    return member.compress_type == zipfile.ZIP_STORED and member.file_size > interface.HELD_BYTES


def _place(file: Path, member: zipfile.ZipInfo) -> int:
    """The first byte of a member that is not compressed: behind a header that tells the lengths of its own parts."""
    with file.open("rb") as stream:
        stream.seek(member.header_offset)
        fixed = stream.read(30)
    return member.header_offset + 30 + sum(int.from_bytes(fixed[at : at + 2], "little") for at in (26, 28))


def _require_whole(file: Path, member: zipfile.ZipInfo, name: str) -> None:
    """Raises:
    BadInput: the check sum of a member is another than the archive says.
    """
    try:
        with zipfile.ZipFile(file) as archive, archive.open(member) as stream:
            while stream.read(_READ_AT_A_TIME):
                pass
    except Exception as error:
        raise BadInput(f"{name} is cut off or damaged: {_in_one_line(error)}") from error


def _checked_header(stream: BufferedIOBase, size: int, name: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, whether by columns, and type of an array of numbers whose file or member has so many bytes."""
    try:
        shape, by_columns, dtype = _header(stream)
    except Exception as error:  # numpy evaluates the header's text, which may be anything
        raise BadInput(f"{name} is not an array: {_in_one_line(error)}") from error
    if dtype.kind not in "biuf":
        kind = "Python objects" if dtype.hasobject else f"dtype {dtype}"
        raise BadInput(f"{name} holds {kind}; write numbers")
    declared, there = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if declared != there or min(shape, default=0) < 0:
        raise BadInput(f"{name} declares shape {shape} of {dtype}, {declared} bytes, but holds {there}")
    return shape, by_columns, dtype


def _header(member: BufferedIOBase) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = npy.read_magic(member)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the .npy format")
    return npy.read_array_header_1_0(member) if version == (1, 0) else npy.read_array_header_2_0(member)


def _values(member: BufferedIOBase, count: int, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    values = np.empty(count, dtype)
    buffer = values.view(np.uint8)
    filled = 0
    # One read more than the array holds: only at the member's end is its check sum compared.
    while part := member.read(_READ_AT_A_TIME):
        buffer[filled : filled + len(part)] = np.frombuffer(part, np.uint8)
        filled += len(part)
    if filled != len(buffer):
        raise ValueError(f"{filled} of {len(buffer)} bytes are there")
    return values


def _require_memory(file: Path, members: dict[str, zipfile.ZipInfo]) -> None:
    members = {key: info for key, info in members.items() if not _stays(info)}
    declared = sum(info.file_size for info in members.values())
    if declared > _memory():
        raise BadInput(
            f"data {str(file)!r} declares {declared / 1e9:.3g} GB in {', '.join(members)}; "
            f"this machine has {_memory() / 1e9:.3g} GB of memory"
        )


def _memory() -> float:
    """Bytes of memory that this machine or container has; infinite where the system does not say."""
    known = getattr(os, "sysconf_names", {})
    if not {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= set(known):
        return math.inf
    limit = Path("/sys/fs/cgroup/memory.max")
    container = limit.read_text(encoding="ascii").strip() if limit.is_file() else "max"
    machine = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(machine, float(container)) if container.isdecimal() else machine


def _in_one_line(error: BaseException) -> str:
    return one_line(str(error))[:200] or type(error).__name__
