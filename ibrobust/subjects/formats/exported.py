"""Programs that `torch.export` saved: `FILE.pt2`."""

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from ibrobust.errors import BadInput
from ibrobust.python_files import said
from ibrobust.subjects.adapted import InBatchesOf
from ibrobust.subjects.formats.interface import Format, Say, missing_file


def _program(model: str, shape: tuple[int, int, int] | None, say: Say) -> nn.Module:
    what = f"model {model!r}"
    missing_file(Path(model), what)
    if not zipfile.is_zipfile(model):
        raise BadInput(f"{what}: the file is not one that torch.export.save wrote")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(model)
            module: nn.Module = program.module()
    except Exception as error:  # whatever a file that is none of torch.export's leads to
        raise BadInput(f"{what}: torch.export cannot read the file: {said(error)}") from error
    inputs = [node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    if len(inputs) != 1:
        raise BadInput(f"{what}: it takes {len(inputs)} inputs ({', '.join(node.name for node in inputs)}), not images")
    sizes = [size if isinstance(size, int) else None for size in inputs[0].meta["val"].shape]
    require_images(sizes, shape, what)
    return with_any_batch(module, sizes[0], say)


def require_images(sizes: Sequence[int | None], shape: tuple[int, int, int] | None, what: str) -> None:
    """Raises:
    BadInput: an input of these sizes (None where any will do) is none for images, or not for those of the data.
    """
    written = f"({', '.join('any' if size is None else str(size) for size in sizes)})"
    if len(sizes) != 4:
        raise BadInput(f"{what}: it takes an input of shape {written}, not images (N, C, H, W)")
    if shape and any(size not in (None, own) for size, own in zip(sizes[1:], shape, strict=True)):
        raise BadInput(
            f"{what}: it takes images of shape {written}, and the data's are (N, {', '.join(map(str, shape))})"
        )


def with_any_batch(module: nn.Module, size: int | None, say: Say) -> nn.Module:
    """The module, or, where it only takes batches of one size, one that asks it in such batches."""
    if size is None:
        return module
    say(f"it was exported for batches of {size}, and is asked in batches of {size}, which is slower; "
        "export it with a dynamic batch dimension")  # fmt: skip
    return InBatchesOf(module, size)


EXPORTED = Format(
    "FILE.pt2",
    accepts=lambda model: Path(model).suffix == ".pt2",
    load=_program,
    takes=("shape", "say"),
    holds="what torch.export.save wrote",
    example="--model exported.pt2 --data mine.npz",
)
