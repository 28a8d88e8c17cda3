"""ONNX files as onnxruntime runs them: whatever operators they have, and without gradients."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ibrobust.errors import BadInput
from ibrobust.python_files import said
from ibrobust.subjects.adapted import InBatchesOf
from ibrobust.subjects.formats.exported import require_images
from ibrobust.subjects.formats.interface import Format, Say, behind_prefix, library, missing_file, prefixed

_TYPES = {"tensor(float)": torch.float32, "tensor(double)": torch.float64, "tensor(float16)": torch.float16}


class Session(nn.Module):
    """A file's first output of logits, asked on the CPU. Another process starts a session of its own."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__()
        self.path, self.what = path, what
        self._begin()

    def _begin(self) -> None:
        runtime = library("onnxruntime", self.what, "onnx")
        options = runtime.SessionOptions()
        options.log_severity_level, options.inter_op_num_threads = 4, 1
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self.session = runtime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class of its own for each reason
            raise BadInput(f"{self.what}: onnxruntime cannot run it: {said(error)}") from error
        given = self.session.get_inputs()
        if len(given) != 1:
            raise BadInput(f"{self.what}: it takes {len(given)} inputs ({', '.join(one.name for one in given)})")
        (self.given,) = given
        if self.given.type not in _TYPES:
            raise BadInput(f"{self.what}: its input is {self.given.type}, and pixels are floating point in [0, 1]")
        scores = [one.name for one in self.session.get_outputs() if one.type in _TYPES]
        if not scores:
            raise BadInput(f"{self.what}: none of its outputs is a tensor of floating-point numbers")
        self.answer = scores[0]

    @property
    def sizes(self) -> list[int | None]:
        """The sizes of the input, None where any will do."""
        return [size if isinstance(size, int) and size > 0 else None for size in self.given.shape]

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.detach().cpu().to(_TYPES[self.given.type]).contiguous().numpy()
        (logits,) = self.session.run([self.answer], {self.given.name: pixels})
        return torch.from_numpy(logits).to(x.device)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("session", "given")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def extra_repr(self) -> str:
        return f"onnxruntime, {self.answer}"


def _session(model: str, shape: tuple[int, int, int] | None, say: Say) -> nn.Module:
    what, path = f"model {model!r}", Path(behind_prefix(model))
    missing_file(path, what)
    session = Session(path, what)
    require_images(session.sizes, shape, what)
    if (batch := session.sizes[0]) is None:
        return session
    say(f"the file is for batches of {batch}, and is asked in batches of {batch}, which is slower")
    return InBatchesOf(session, batch)


def _content(model: str, _module: nn.Module) -> str:
    """Digest of the file and, where it keeps its numbers in files beside it, of what lies there under its name."""
    path = Path(behind_prefix(model))
    files = [path, *sorted(beside for beside in path.parent.glob(f"{path.name}*data*"))]
    return "".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file())


ONNXRUNTIME = Format(
    "onnxruntime:FILE.onnx",
    accepts=prefixed("onnxruntime"),
    load=_session,
    name=lambda model: f"onnxruntime-{Path(behind_prefix(model)).stem}",
    takes=("shape", "say"),
    also=_content,
    needs=("onnxruntime",),
    extra="onnx",
    holds="ONNX as onnxruntime runs it, without gradients: for --protocol black-box",
    example="--model onnxruntime:net.onnx --protocol black-box --data mine.npz",
)
