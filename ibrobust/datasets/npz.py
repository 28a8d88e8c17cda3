"""Data sets in an `.npz` file: arrays `x` and `y`, and `x_train` and `y_train` to train on."""

import zipfile
from pathlib import Path

import numpy as np
import torch

from ibrobust.datasets.interface import Split
from ibrobust.errors import BadInput


def npz_parts(file: Path) -> tuple[Split, Split]:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            content = {key: arrays[key] for key in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput(f"data {str(file)!r} cannot be read: {error}") from error
    test = _npz_split(file, content, "x", "y")
    has_train = "x_train" in content or "y_train" in content
    return _npz_split(file, content, "x_train", "y_train") if has_train else test[:0], test


def _npz_split(file: Path, content: dict[str, np.ndarray], x_key: str, y_key: str) -> Split:
    for key in (x_key, y_key):
        if key not in content:
            raise BadInput(f"data {str(file)!r} has no array {key!r}; it has {', '.join(sorted(content)) or 'none'}")
    x, y = content[x_key], content[y_key]
    if x.ndim != 4 or len(x) == 0:
        raise BadInput(f"data {str(file)!r}: {x_key} has shape {x.shape}; write (N, C, H, W) or (N, H, W, C)")
    if x.shape[1] not in (1, 3) and x.shape[3] in (1, 3):
        x = x.transpose(0, 3, 1, 2)
    if y.shape != (len(x),):
        raise BadInput(f"data {str(file)!r}: {x_key} holds {len(x)} samples, {y_key} has shape {y.shape}")
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
        raise BadInput(f"data {str(file)!r}: {y_key} must hold integers from 0, not {y.dtype} from {y.min()}")
    if x.dtype != np.uint8:
        x = x.astype(np.float32)
        if not ((x >= 0) & (x <= 1)).all():
            raise BadInput(f"data {str(file)!r}: {x_key} holds pixels outside [0, 1] or NaN; scale them or use uint8")
    return Split(torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y.astype(np.int64)))
