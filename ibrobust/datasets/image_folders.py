"""Data sets as folders of images: one folder per class, perhaps below `train` and `test`."""

from pathlib import Path

import torch

from ibrobust.datasets.interface import Split
from ibrobust.errors import BadInput


def folder_parts(folder: Path) -> tuple[Split, Split]:
    parts = {part: folder / part for part in ("train", "test")}
    if not all(part.is_dir() for part in parts.values()):
        test = _class_folders(folder)
        return test[:0], test
    return _class_folders(parts["train"]), _class_folders(parts["test"])


def _class_folders(folder: Path) -> Split:
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    samples = [(file, label) for label, path in enumerate(classes) for file in sorted(path.iterdir()) if file.is_file()]
    if not samples:
        raise BadInput(f"folder {str(folder)!r} holds no class folders with images")
    return image_split(samples, None)


def image_split(samples: list[tuple[Path, int]], size: int | None) -> Split:
    """Images of one size; `size` crops the centre of the image shrunk to 8/7 of it."""
    from PIL import Image, UnidentifiedImageError
    from torchvision.transforms.functional import center_crop, pil_to_tensor, resize

    images = []
    for file, _ in samples:
        try:
            with Image.open(file) as opened:
                image = opened.convert("L" if opened.mode in ("1", "L") else "RGB")
        except (UnidentifiedImageError, OSError) as error:
            raise BadInput(f"{str(file)!r} is not an image") from error
        image = center_crop(resize(image, size * 8 // 7), [size, size]) if size else image
        images.append(pil_to_tensor(image))
        if images[-1].shape != images[0].shape:
            raise BadInput(f"images differ in size: {samples[0][0]} is {tuple(images[0].shape)}, {file} not")
    return Split(torch.stack(images), torch.tensor([label for _, label in samples]))
