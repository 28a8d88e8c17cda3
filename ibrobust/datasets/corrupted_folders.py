"""Data in the layout of ImageNet-C: image files in CORRUPTION/SEVERITY/CLASS, perhaps below folders of groups as
`blur`, with the same files below every corruption and severity (Hendrycks & Dietterich 2019)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ibrobust.datasets.class_names import numbered_classes
from ibrobust.datasets.corrupted import folder_named, named_part, part_of, rows_from
from ibrobust.datasets.forms import Form
from ibrobust.datasets.image_folders import folder_entries, image_files
from ibrobust.datasets.image_splits import sources_of, stored_images
from ibrobust.datasets.interface import Parts, StoredSplit, held
from ibrobust.datasets.options import DataOptions
from ibrobust.datasets.samples import SPREAD, spread_over_classes
from ibrobust.datasets.shaping import Shaping
from ibrobust.datasets.splits import SEVERITIES, Corrupted, StoredImages
from ibrobust.errors import BadInput, shortened

_NUMBERS = {str(severity) for severity in SEVERITIES}
_GROUPS = ("blur", "digital", "extra", "noise", "weather")
"""What ImageNet-C's archives are called."""


def is_tree(folder: Path) -> bool:
    """Whether a folder has this layout, by the names of its folders."""
    return next(_corruptions(folder), None) is not None


def _corruptions(folder: Path) -> Iterator[Path]:
    """The folders of corruptions, directly below or below a group's."""
    for place in _folders(folder):
        if _is_corruption(place):
            yield place
        elif place.name in _GROUPS:
            yield from (inner for inner in _folders(place) if _is_corruption(inner))


def _is_corruption(folder: Path) -> bool:
    """Whether it holds folders of severities, and these hold folders."""
    if not any((folder / number).is_dir() for number in _NUMBERS):
        return False  # A class of a million images is not listed.
    inside = _folders(folder)
    return {place.name for place in inside} <= _NUMBERS and bool(_folders(inside[0]))


def _folders(folder: Path) -> list[Path]:
    return [place for place in folder_entries(folder) if place.is_dir()] if folder.is_dir() else []


@dataclass(frozen=True)
class _Samples:
    """What every corruption holds at every severity: paths below it, their labels, and the classes by label."""

    paths: list[Path]
    labels: list[int]
    class_names: tuple[str, ...]


def corrupted_tree(folder: Path, shaping: Shaping) -> tuple[Corrupted, tuple[str, ...]]:
    """All corruptions in a folder, and the names of the classes.

    Raises:
        BadInput: a severity is missing, two of them hold other files, or an image cannot be used; names it.
    """
    places = _named(folder)
    parts = [place / str(severity) for place in places.values() for severity in SEVERITIES]
    samples = _common_samples(folder, parts)
    files = [part / path for part in parts for path in samples.paths]
    images, y = _images(files, shaping), torch.tensor(samples.labels, dtype=torch.int64)
    count = len(SEVERITIES) * len(y)
    splits = {
        name: StoredSplit(_some(images, index * count, files[index * count :][:count]), y.repeat(len(SEVERITIES)))
        for index, name in enumerate(places)
    }
    return Corrupted(y, splits), samples.class_names


def _named(folder: Path) -> dict[str, Path]:
    places: dict[str, Path] = {}
    for place in sorted(_corruptions(folder), key=lambda place: place.name):
        other = places.setdefault(place.name, place)
        if other != place:
            raise BadInput(f"data {str(folder)!r} holds the corruption {place.name!r} twice: {str(other)!r} as well")
    return places


def _common_samples(folder: Path, parts: Sequence[Path]) -> _Samples:
    """Raises:
    BadInput: some are missing, or have other files than the first.
    """
    found: _Samples | None = None
    for part in parts:
        if not part.is_dir():
            raise BadInput(f"data {str(folder)!r}: corruption {part.parent.name!r} has no severity {part.name}")
        samples = _samples(part)
        found = found or samples
        if other := sorted(set(samples.paths) ^ set(found.paths)):
            lacking = part if other[0] in set(found.paths) else parts[0]
            raise BadInput(f"data {str(folder)!r}: {str(lacking)!r} holds no {str(other[0])!r}, and others do")
        if samples.class_names != found.class_names:
            raise BadInput(f"data {str(folder)!r}: {str(part)!r} has other class folders than {str(parts[0])!r}")
    assert found is not None, "a folder without corruptions has another form"
    return found


def _samples(part: Path) -> _Samples:
    """In an order that is spread over the classes."""
    classes = {place.name: place for place in _folders(part)}
    names = numbered_classes(list(classes), part)
    each = [(file.relative_to(part), label) for label, name in enumerate(names) for file in image_files(classes[name])]
    if not each:
        raise BadInput(f"folder {str(part)!r} holds no class folders with images")
    order = spread_over_classes(np.array([label for _, label in each], dtype=np.int64))
    return _Samples([each[row][0] for row in order], [each[row][1] for row in order], names)


def _images(files: Sequence[Path], shaping: Shaping) -> StoredImages:
    return stored_images([sources_of(files)], shaping)[0]


def _some(images: StoredImages, start: int, files: Sequence[Path]) -> StoredImages:
    """As many of the images as there are files, from one on."""
    shape = (len(files), *images.shape[1:])
    return StoredImages(shape, images.dtype, partial(rows_from, images, start), tuple(files), images.made)


def _load(data: str, options: DataOptions) -> Parts:
    """`FOLDER:CORRUPTION:SEVERITY` is the samples under one corruption, for which the others are not looked at."""
    folder, name, severity = named_part(data, is_tree)
    if not name:
        found, class_names = corrupted_tree(folder, options.shaping)
        test = part_of(found, found.corruptions[0], 1)
        return Parts(test[:0], test, class_names, SPREAD, transform=options.shaping.words, corrupted=found)
    places = _named(folder)
    if name not in places:
        raise BadInput(f"data {str(folder)!r} has no corruption {shortened(name)!r}; choose from {', '.join(places)}")
    part = places[name] / str(severity)
    samples = _common_samples(folder, [part])
    images = _images([part / path for path in samples.paths], options.shaping)
    test = held(StoredSplit(images, torch.tensor(samples.labels, dtype=torch.int64)))
    return Parts(test[:0], test, samples.class_names, SPREAD, transform=options.shaping.words)


TREE = Form(
    "FOLDER or FOLDER:CORRUPTION:SEVERITY (of image files)",
    accepts=lambda data: is_tree(folder_named(data, is_tree)),
    load=_load,
    holds="ImageNet-C's layout: image files in CORRUPTION/SEVERITY/CLASS, perhaps below blur, digital, extra, noise "
    "and weather; the folder is for --protocol corruptions, FOLDER:fog:3 is data as any other",
    takes=("resize", "crop"),
    example="ImageNet-C --resize 256 --crop 224 --protocol corruptions",
)
