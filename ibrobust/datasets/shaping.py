"""How images of any size are brought to one size: torchvision's own resizing, then its crop of the centre."""

import re
from dataclasses import dataclass
from typing import Any

from ibrobust.errors import BadInput, shortened

_FILTERS = ("bilinear", "bicubic")
_LARGEST = 2**14


@dataclass(frozen=True)
class Shaping:
    """What is done to each image; nothing by default.

    Attributes:
        resize: (shorter side,), or (height, width) whatever the image's shape.
        filter: how pixels are interpolated.
        crop: (height, width) of the centre that is kept.
    """

    resize: tuple[int, ...] = ()
    filter: str = "bilinear"
    crop: tuple[int, ...] = ()

    @property
    def words(self) -> str:
        """What a card says of it; empty where nothing is done."""
        sizes = {"resize": self.resize, "crop": self.crop}
        told = {name: "x".join(map(str, size)) for name, size in sizes.items() if size}
        return ", ".join(f"{name} {size}{f' {self.filter}' * (name == 'resize')}" for name, size in told.items())

    def size(self, height: int, width: int, name: str) -> tuple[int, int]:
        """Height and width of what becomes of an image of this size.

        Raises:
            BadInput: it is smaller than the crop, or nothing would be left of it; the message begins with the name.
        """
        before = f"{name} has {width} × {height} pixels"
        if len(self.resize) == 2:
            height, width = self.resize
        elif self.resize:
            shorter, longer = sorted((height, width))
            sides = self.resize[0], int(self.resize[0] * longer / shorter)
            height, width = sides if height <= width else sides[::-1]
        if not self.crop:
            return height, width
        if self.crop[0] > height or self.crop[1] > width:
            then = f", {width} × {height} after resize" if self.resize else ""
            raise BadInput(f"{before}{then}, which is smaller than crop {self.crop[1]} × {self.crop[0]}; resize it")
        return self.crop[0], self.crop[1]

    def __call__(self, image: Any) -> Any:
        """A PIL image or a tensor (C, H, W), shaped."""
        from torchvision.transforms import v2

        if self.resize:
            image = v2.functional.resize(image, list(self.resize), v2.InterpolationMode(self.filter), antialias=True)
        return v2.functional.center_crop(image, list(self.crop)) if self.crop else image


AS_STORED = Shaping()


def shaping_of(resize: str | int | None, crop: str | int | None) -> Shaping:
    """The shaping that texts ask for: resize `256` (the shorter side) or `224x224` (height × width), perhaps with
    `:bicubic` behind it; crop `224` or `224x192`.

    Raises:
        BadInput: a text says something else.
    """
    given, _, chosen = str(resize or "").partition(":")
    if chosen and chosen not in _FILTERS:
        raise BadInput(f"resize {shortened(str(resize))!r}: no filter {chosen!r}; choose from {', '.join(_FILTERS)}")
    sides = _sides("resize", given, resize)
    edges = _sides("crop", str(crop or ""), crop)
    return Shaping(sides, chosen or _FILTERS[0], edges * 2 if len(edges) == 1 else edges)


def _sides(name: str, text: str, given: str | int | None) -> tuple[int, ...]:
    if given is None:
        return ()
    found = re.fullmatch(r"([1-9]\d{0,5})(?:x([1-9]\d{0,5}))?", text)
    sides = tuple(int(side) for side in found.groups() if side) if found else ()
    if not sides or max(sides) > _LARGEST:
        behind = ", perhaps with :bicubic behind it" if name == "resize" else ""
        raise BadInput(f"{name} {shortened(str(given))!r}: write pixels, as 224 or 224x192 (height × width){behind}")
    return sides
