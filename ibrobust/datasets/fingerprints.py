"""A digest of a data set's tensors; of files, it is computed once and then known by their sizes and times."""

import hashlib
import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from ibrobust.datasets.splits import AnySplit, StoredImages, StoredSplit
from ibrobust.errors import BadInput
from ibrobust.files import user_cache, written_whole

_BLOCK_BYTES = 2**25
_SETTLED = 2.0
"""Seconds that a file has to be unchanged: within the clock's resolution it may change again without a trace."""


def fingerprint_of(*parts: AnySplit) -> str:
    """SHA-256 of the images and labels of all parts, with their types and shapes; the same however they are held.

    Where images are read from files, the user's cache folder (`files.user_cache`) remembers it by the files' paths,
    sizes and times, so that it is not computed again. A folder that cannot be written costs only the time.
    """
    stored = [split.x for split in parts if isinstance(split, StoredSplit)]
    place = _place(stored, *(split.y for split in parts)) if stored else None
    if place and (known := _remembered(place)):
        return known
    for images in stored:
        if images.check:
            images.check()
    digest = hashlib.sha256()
    for tensor in (tensor for split in parts for tensor in (split.x, split.y)):
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        each = max(1, _BLOCK_BYTES // max(1, tensor[:1].numel() * tensor.dtype.itemsize)) if len(tensor) else 1
        for start in range(0, len(tensor), each):
            digest.update(tensor[start : start + each].contiguous().numpy().data)
    if place:
        with suppress(OSError, BadInput), written_whole(place) as unfinished:
            unfinished.write_text(json.dumps({"fingerprint": digest.hexdigest()}), encoding="utf-8")
    return digest.hexdigest()


def _remembered(place: Path) -> str:
    try:
        found = json.loads(place.read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, TypeError, KeyError):
        return ""
    return found if isinstance(found, str) and re.fullmatch("[0-9a-f]{64}", found) else ""


def _place(stored: list[StoredImages], *labels: Tensor) -> Path | None:
    """Where the fingerprint of these files in their present state is kept; None where nothing tells their state."""
    folder = user_cache()
    if folder is None or not all(images.files for images in stored):
        return None
    key = hashlib.sha256(b"1")
    for y in labels:
        key.update(y.numpy().tobytes())
    for images in stored:
        key.update(f"{images.made} {images.dtype} {images.shape}".encode())
        for file in images.files:
            try:
                state = file.stat()
            except OSError:
                return None
            if max(state.st_mtime, state.st_ctime) > time.time() - _SETTLED:
                return None
            told = (state.st_size, state.st_mtime_ns, state.st_ctime_ns)
            key.update(os.fsencode(file.absolute()) + repr(told).encode())
    return folder / "fingerprints" / f"{key.hexdigest()}.json"
