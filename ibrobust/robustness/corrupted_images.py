"""The fifteen common corruptions of Hendrycks & Dietterich (2019) at five severities, made from clean images.

They are the maintained `imagecorruptions-imaug`'s, with the strengths of ImageNet-C; on small images those are stronger
than CIFAR-10-C's. Each image is made from random numbers of its own, so that it does not depend on what else is made.
"""

import contextlib
import hashlib
import io
import warnings
from collections.abc import Iterator
from importlib import metadata
from types import ModuleType

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ibrobust.errors import BadInput
from ibrobust.images import as_images

COMMON = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip

_LEAST_SIDE = 8
_NEEDS = {"glass_blur": 16, "snow": 25, "motion_blur": 28}
"""Pixels of the shorter side below which a corruption is not what its name says: it moves pixels further than the image
is wide, and blurs nothing, or darkens instead."""
_SEEDED = ("glass_blur", "impulse_noise")
"""Those that do not take numpy's global generator."""
_LIBRARIES = ("imagecorruptions-imaug", "numpy", "opencv-python", "pillow", "scikit-image", "scipy")


def possible_corruptions(height: int, width: int) -> tuple[list[str], list[str]]:
    """The corruptions that images of this size can have, and a sentence that names those that they cannot.

    Raises:
        BadInput: they can have none.
    """
    side = min(height, width)
    if side < _LEAST_SIDE:
        raise BadInput(f"images have {width} × {height} pixels; corruptions need {_LEAST_SIDE} or more on each side")
    left_out = [f"{name} (it needs {need})" for name, need in _NEEDS.items() if side < need]
    words = f"images have {width} × {height} pixels, too few on a side for {', '.join(left_out)}, which is left out"
    return [name for name in COMMON if side >= _NEEDS.get(name, 0)], [words] if left_out else []


def library_words() -> str:
    """What makes the images, with the versions that decide their bytes.

    Raises:
        BadInput: it is not installed.
    """
    _library()
    found = []
    for name in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    return ", ".join(found)


def bytes_of(x: Tensor) -> UInt8[Tensor, "batch channels height width"]:
    """Images as the bytes that are corrupted; floats in [0, 1] are rounded to the nearest of 256 steps."""
    return x if x.dtype == torch.uint8 else (as_images(x) * 255).round().to(torch.uint8)


def corrupted(
    x: UInt8[Tensor, "batch channels height width"], ids: Tensor, corruption: str, severity: int, *, seed: int
) -> UInt8[Tensor, "batch channels height width"]:
    """The images under one corruption. Grey images are corrupted as colour images whose channels are alike, of which
    the first is taken.

    Args:
        ids: the samples' numbers: together with seed, corruption and severity they decide the random numbers.

    Raises:
        BadInput: the library is missing, or images have neither one channel nor three.
    """
    library = _library()
    if x.shape[1] not in (1, 3):
        raise BadInput(f"images have {x.shape[1]} channels; corruptions are made of images with one or three")
    made = torch.empty_like(x)
    with _own_numbers():
        for row, number in enumerate(ids.tolist()):
            image = x[row].expand(3, *x.shape[2:]).permute(1, 2, 0).contiguous().numpy()
            changed = _one(library, image, corruption, severity, _seed(seed, corruption, severity, number))
            made[row] = torch.from_numpy(changed).permute(2, 0, 1)[: x.shape[1]]
    return made


def _one(library: ModuleType, image: np.ndarray, corruption: str, severity: int, seed: int) -> np.ndarray:
    from PIL import Image

    np.random.seed(seed)
    own = {"seed": seed} if corruption in _SEEDED else {}
    changed = np.asarray(getattr(library, corruption)(Image.fromarray(image), severity, **own))
    return np.ascontiguousarray(changed.astype(np.uint8)).reshape(image.shape)


def _seed(seed: int, corruption: str, severity: int, number: int) -> int:
    digest = hashlib.sha256(f"{seed} {corruption} {severity} {number}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


@contextlib.contextmanager
def _own_numbers() -> Iterator[None]:
    """numpy's global generator is its caller's again afterwards, and what the library prints is not shown."""
    state = np.random.get_state()
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
            yield
    finally:
        np.random.set_state(state)


def _library() -> ModuleType:
    try:
        with warnings.catch_warnings(action="ignore"):
            from imagecorruptions import corruptions
    except ImportError as error:
        raise BadInput(
            f"making corruptions needs imagecorruptions-imaug, which cannot be imported ({error}): "
            "pip install 'ibrobust[corruptions]'"
        ) from error
    found: ModuleType = corruptions
    return found
