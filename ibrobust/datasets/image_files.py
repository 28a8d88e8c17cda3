"""One image as pixels, from a file or its bytes: of any depth that is known for certain, refused by name otherwise."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ibrobust.datasets.shaping import AS_STORED, Shaping
from ibrobust.errors import BadInput, one_line

_GREY_MODES = ("1", "L", "LA", "La")
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
_SIXTEEN_BIT_ROWS = (";16B", ";16L", ";16N")
_ORIENTATION = 0x0112
"""EXIF's tag; from 5 on height and width are swapped."""
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
"""TIFF's tags. Of the last two 1 says that 0 is black, and that numbers are unsigned integers."""


@contextmanager
def image_warnings() -> Iterator[None]:
    """Inside the block images that would unpack to gigabytes are errors; warnings about odd metadata are not shown."""
    from PIL import Image

    with warnings.catch_warnings(action="ignore"):
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


class Outline(NamedTuple):
    """What an image will be, as far as its header tells: channels, height, width, and whether of more than 8 bits."""

    channels: int
    height: int
    width: int
    deep: bool


class Encoded(NamedTuple):
    """The bytes of an image that is stored inside a larger file, and what messages call it."""

    content: bytes
    name: str

    def __str__(self) -> str:
        return self.name


def read_image(source: Path | Encoded, shaping: Shaping = AS_STORED) -> Tensor:
    """The image upright: (1, H, W) if it is grey and (3, H, W) otherwise; uint8, or float32 in [0, 1] if the file holds
    grey of 16 bits or floats.

    Args:
        shaping: what size it is brought to; as stored by default.

    Raises:
        BadInput: the file cannot be read, or its pixels mean something that is not certain: several frames, parts that
            are transparent, 32-bit integers, 16 bits per colour, floats outside [0, 1].
    """
    from PIL import ImageOps

    name = repr(str(source))
    with _opened(source, name) as opened:
        depth = _depth(opened, name)
        upright = ImageOps.exif_transpose(opened)
        shaping.size(upright.height, upright.width, name)
        return shaping(_scaled(upright, depth, name)).clamp(0, 1) if depth else pixels_of(upright, name, shaping)


def image_outline(source: Path | Encoded, shaping: Shaping = AS_STORED) -> Outline:
    """What `read_image` will give, without decoding the pixels.

    Raises:
        BadInput: as `read_image`, as far as the header tells.
    """
    name = repr(str(source))
    with _opened(source, name) as opened:
        deep = bool(_depth(opened, name))
        sides = opened.size if opened.getexif().get(_ORIENTATION, 1) < 5 else opened.size[::-1]
        height, width = shaping.size(sides[1], sides[0], name)
        return Outline(1 if deep or opened.mode in _GREY_MODES else 3, height, width, deep)


@contextmanager
def _opened(source: Path | Encoded, name: str) -> Iterator[Any]:
    from PIL import Image

    try:
        with Image.open(BytesIO(source.content) if isinstance(source, Encoded) else source) as opened:
            if getattr(opened, "n_frames", 1) > 1 and opened.format != "MPO":  # phones: the photo, then its preview
                raise BadInput(f"{name} holds {getattr(opened, 'n_frames', 1)} frames; write one image to a file")
            yield opened
    except BadInput:
        raise
    except OSError as error:
        raise BadInput(f"{name} is not an image that can be read: {error.strerror or _short(error)}") from error
    except Exception as error:  # decoders of damaged bytes raise whatever they run into
        raise BadInput(f"{name} is not an image that can be read: {_short(error)}") from error


def _depth(image: Any, name: str) -> int:
    """What 1 is in an image that has more than 8 bits: 65535, or 1 of floats; 0 for an image of 8 bits or fewer.

    Raises:
        BadInput: it is not certain, or 16 bits per colour would be read as 8.
    """
    if image.mode == "F" and image.format in ("TIFF", "PPM") and _tag(image, _PHOTOMETRIC) == 1:
        return 1
    if image.mode == "I" or image.mode.startswith(("I;", "F")):
        plain_tiff = image.format == "TIFF" and _tag(image, _BITS) == 16
        plain_tiff &= _tag(image, _SAMPLE_FORMAT) == _tag(image, _PHOTOMETRIC) == 1
        if image.mode != "F" and (image.format in ("PNG", "PPM") or plain_tiff):
            return 2**16 - 1
        raise BadInput(
            f"{name} has {image.format} pixels of mode {image.mode!r}, whose scale is not known; write 8 bits"
        )
    rows = [(args,) if isinstance(args, str) else args for *_, args in image.tile]
    by_name = any(str(row[0]).endswith(_SIXTEEN_BIT_ROWS) for row in rows if row)
    if by_name or (image.format == "PPM" and any(isinstance(row[-1], int) and row[-1] > 255 for row in rows)):
        raise BadInput(f"{name} has 16 bits per colour, which would be read as 8; write 8, or an .npz file of floats")
    return 0


def _tag(image: Any, tag: int) -> Any:
    """A TIFF's tag that has one value; 1, which is usual, where there is none."""
    values = image.tag_v2.get(tag, 1) if image.format == "TIFF" else 1
    return values[0] if isinstance(values, tuple) and len(values) == 1 else values


def _scaled(image: Any, one: int, name: str) -> Tensor:
    if "transparency" in image.info:
        raise BadInput(f"{name} has a transparent grey; flatten it onto a background")
    pixels = np.asarray(image).astype(np.float64) / one
    if not ((pixels >= 0) & (pixels <= 1)).all():
        raise BadInput(f"{name} has float pixels outside [0, 1]; scale them")
    return torch.from_numpy(pixels.astype(np.float32))[None]


def pixels_of(image: Any, name: str, shaping: Shaping = AS_STORED) -> Tensor:
    """The bytes of a PIL image of 8 bits, (1, H, W) or (3, H, W).

    Raises:
        BadInput: it is transparent in places.
    """
    from torchvision.transforms.functional import pil_to_tensor

    kind = "L" if image.mode in _GREY_MODES else "RGB"
    palette = getattr(image.palette, "mode", "RGB")
    if image.mode in _ALPHA_MODES or "transparency" in image.info or palette == "RGBA":
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] < 255:
            raise BadInput(f"{name} is transparent in places; flatten it onto a background")
        image = image.convert("RGB")
    tensor: Tensor = pil_to_tensor(shaping(image.convert(kind)))
    return tensor


def _short(error: Exception) -> str:
    return one_line(str(error))[:200] or type(error).__name__
