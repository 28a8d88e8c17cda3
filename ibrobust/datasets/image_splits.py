"""Many images, each in a file or in a row of one, as splits of images of one size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ibrobust.datasets.image_files import Encoded, Outline, image_outline, image_warnings, read_image
from ibrobust.datasets.interface import AnySplit, StoredSplit, held
from ibrobust.datasets.shaping import Shaping
from ibrobust.datasets.splits import StoredImages
from ibrobust.errors import BadInput
from ibrobust.images import as_images

Source = Path | Encoded


@dataclass(frozen=True)
class Sources:
    """Encoded images that can be opened one by one.

    Attributes:
        count: how many there are.
        at: the numbers of some of them → those images, in that order.
        files: where they lie.
    """

    count: int
    at: Callable[[NDArray[np.int64]], Sequence[Source]]
    files: tuple[Path, ...]


def image_splits(
    files: Sequence[Sequence[Path]], labels: Sequence[Tensor], shaping: Shaping
) -> tuple[AnySplit, AnySplit]:
    """Training and test part of image files: as `splits_of`."""
    train, test = map(sources_of, files)
    return splits_of((train, test), (labels[0], labels[1]), shaping)


def sources_of(files: Sequence[Path]) -> Sources:
    """Image files."""
    return Sources(len(files), partial(_files_at, tuple(files)), tuple(files))


def splits_of(
    sources: tuple[Sources, Sources], labels: tuple[Tensor, Tensor], shaping: Shaping
) -> tuple[AnySplit, AnySplit]:
    """Training and test part, each in memory where it is small: all in colour if one image is, all float32 in [0, 1]
    if one is not of 8 bits.

    Raises:
        BadInput: an image cannot be read, or images differ in size; names them.
    """
    with image_warnings():
        train, test = (held(StoredSplit(*each)) for each in zip(stored_images(sources, shaping), labels, strict=True))
        return train, test


def stored_images(sources: Sequence[Sources], shaping: Shaping) -> list[StoredImages]:
    """The images of each, which stay in their files; what all are made to be is as in `splits_of`.

    Raises:
        BadInput: as there.
    """
    with image_warnings():
        channels, height, width, deep = _common(sources, shaping)
    dtype, made = torch.float32 if deep else torch.uint8, f"{shaping} {_decoders()}"
    read = [partial(_decoded, part.at, shaping, (channels, height, width), dtype) for part in sources]
    return [
        StoredImages((part.count, channels, height, width), dtype, rows, part.files, made)
        for part, rows in zip(sources, read, strict=True)
    ]


def _files_at(files: tuple[Path, ...], rows: NDArray[np.int64]) -> Sequence[Source]:
    return [files[row] for row in rows]


def _common(sources: Sequence[Sources], shaping: Shaping) -> Outline:
    """What all images are made to be."""
    first: tuple[str, Outline] | None = None
    channels, deep = 1, False
    for part in sources:
        for start in range(0, part.count, 256):
            for source in part.at(np.arange(start, min(start + 256, part.count))):
                outline = image_outline(source, shaping)
                first = first or (str(source), outline)
                if outline[1:3] != first[1][1:3]:
                    sizes = [f"{one.width} × {one.height}" for one in (first[1], outline)]
                    raise BadInput(
                        f"images differ in size: {first[0]!r} has {sizes[0]} pixels, {str(source)!r} {sizes[1]}; "
                        "resize and crop (--resize, --crop) bring them to one"
                    )
                channels, deep = max(channels, outline.channels), deep or outline.deep
    assert first is not None, "a data set without images is refused before"
    return Outline(channels, first[1].height, first[1].width, deep)


def _decoded(
    at: Callable[[NDArray[np.int64]], Sequence[Source]],
    shaping: Shaping,
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    rows: NDArray[np.int64],
) -> Tensor:
    images = torch.empty((len(rows), *shape), dtype=dtype)
    with image_warnings():
        for place, source in enumerate(at(rows)):
            image = read_image(source, shaping)
            if image.shape[1:] != shape[1:] or len(image) > shape[0] or (image.dtype != dtype and dtype == torch.uint8):
                raise BadInput(f"{str(source)!r} was changed while it was read")
            images[place] = (as_images(image[None])[0] if dtype == torch.float32 else image).expand(shape)
    return images


def _decoders() -> str:
    """The versions of what decodes and scales images."""
    import PIL
    import torchvision

    return f"Pillow {PIL.__version__}, torchvision {torchvision.__version__}"
