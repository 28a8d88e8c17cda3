"""ONNX files, of either of PyTorch's exporters and others: turned into a module by onnx2pytorch, which is believed only
as far as onnxruntime says the same."""

import hashlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ibrobust.errors import BadInput, ran_out_of_memory
from ibrobust.models.answers import logits_in
from ibrobust.models.calls import called
from ibrobust.python_files import said
from ibrobust.subjects.adapted import InBatchesOf
from ibrobust.subjects.formats.exported import require_images
from ibrobust.subjects.formats.interface import Format, Say, library, missing_file

TOLERANCE = 1e-4
"""How far logits may lie from onnxruntime's, as a share of the largest: sums in another order differ by less."""

_NEEDS, _EXTRA = ("onnx", "onnxruntime", "onnx2pytorch"), "onnx"

Runtime = Callable[[Tensor], NDArray[Any]]


def _converted(model: str, shape: tuple[int, int, int] | None, say: Say) -> nn.Module:
    what = f"model {model!r}"
    missing_file(Path(model), what)
    onnx, onnxruntime, onnx2pytorch = (library(name, what, _EXTRA) for name in _NEEDS)
    try:
        graph = onnx.load(model)
    except Exception as error:  # protobuf raises errors of its own
        raise BadInput(f"{what}: it is no ONNX file that can be read: {said(error)}") from error
    sizes, dtype = _input(onnx, graph, what)
    require_images(sizes, shape, what)
    channels, height, width = (size or own for size, own in zip(sizes[1:], shape or (None,) * 3, strict=True))
    if channels is None or height is None or width is None:
        raise BadInput(f"{what}: it takes images of any size; say which with shape=(C, H, W)")
    _give_constants_of_their_own(graph.graph)
    module = _module(onnx2pytorch, graph, what)
    # More than one batch, so that samples that are mixed up show.
    images = torch.rand(2 * (sizes[0] or 2), channels, height, width, generator=torch.Generator().manual_seed(0))
    theirs = _answers_of(onnxruntime, model, images.to(dtype), sizes[0], what)
    return _agreeing(module, images, theirs, sizes[0], what, say)


def _input(onnx: Any, graph: Any, what: str) -> tuple[list[int | None], torch.dtype]:
    """The sizes of the input, None where any will do, and its type."""
    constants = {tensor.name for tensor in graph.graph.initializer}
    inputs = [value for value in graph.graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise BadInput(f"{what}: it takes {len(inputs)} inputs ({', '.join(one.name for one in inputs)}), not images")
    given = inputs[0].type.tensor_type
    kinds = {onnx.TensorProto.FLOAT: torch.float32, onnx.TensorProto.DOUBLE: torch.float64}
    if given.elem_type not in kinds:
        kind = onnx.TensorProto.DataType.Name(given.elem_type)
        raise BadInput(f"{what}: its input is {kind}, and pixels are float32 in [0, 1]")
    sizes = [size.dim_value if size.HasField("dim_value") else None for size in given.shape.dim]
    return [size if size and size > 0 else None for size in sizes], kinds[given.elem_type]


def _give_constants_of_their_own(graph: Any) -> None:
    """PyTorch's older exporter keeps equal constants once, as two layers' biases of zeros are, and hands them on by
    Identity nodes, which the converter would take for what the network computes: each becomes a constant instead."""
    constants, answers = {tensor.name: tensor for tensor in graph.initializer}, {value.name for value in graph.output}
    for node in [node for node in graph.node if node.op_type == "Identity"]:
        if (constant := constants.get(node.input[0])) is None or node.output[0] in answers:
            continue
        own = graph.initializer.add()
        own.CopyFrom(constant)
        own.name = node.output[0]
        constants[own.name] = own
        graph.node.remove(node)


def _module(onnx2pytorch: Any, graph: Any, what: str) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: nn.Module = onnx2pytorch.ConvertModel(graph, experimental=True)
    except NotImplementedError as error:
        raise BadInput(f"{what}: the converter onnx2pytorch lacks something of it: {said(error)}") from error
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        raise BadInput(f"{what}: the converter onnx2pytorch raised {said(error)}") from error
    return module.eval()


def _answers_of(onnxruntime: Any, model: str, images: Tensor, batch: int | None, what: str) -> NDArray[Any]:
    """onnxruntime's logits, in batches of the size that the file is for."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads, options.inter_op_num_threads = 4, 1, 1
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        answers = [session.run(None, {name: part.numpy()})[0] for part in torch.split(images, batch or len(images))]
        return np.concatenate(answers)
    except Exception as error:  # onnxruntime has a class of its own for each reason
        raise BadInput(f"{what}: onnxruntime, which checks the conversion, raised {said(error)}") from error


def _agreeing(
    module: nn.Module, images: Tensor, theirs: NDArray[Any], batch: int | None, what: str, say: Say
) -> nn.Module:
    """The module, or one that asks it in batches of the file's size, whichever answers as onnxruntime.

    Raises:
        BadInput: neither does.
    """
    reasons = []
    for candidate in _candidates(module, batch):
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ours = logits_in(called(module, candidate)(images))[0]
        except Exception as error:
            if ran_out_of_memory(error):
                raise
            reasons.append(f"what the converter onnx2pytorch made of it raised {said(error)}")
            continue
        if (reason := _difference(ours, theirs)) is None:
            if candidate is not module:
                say(f"the file is for batches of {batch}, and is asked in batches of {batch}, which is slower; "
                    "export it with a dynamic batch dimension")  # fmt: skip
            return candidate
        reasons.append(reason)
    raise BadInput(f"{what}: {reasons[-1]}")


def _candidates(module: nn.Module, batch: int | None) -> Iterator[nn.Module]:
    yield module
    if batch:
        yield InBatchesOf(module, batch)


def _difference(ours: Any, theirs: NDArray[Any]) -> str | None:
    """Why the logits are not onnxruntime's; None where they are."""
    if not isinstance(ours, Tensor) or tuple(ours.shape) != theirs.shape:
        seen = f"shape {tuple(ours.shape)}" if isinstance(ours, Tensor) else type(ours).__name__
        return f"what the converter onnx2pytorch made of it answers with {seen}, and onnxruntime with {theirs.shape}"
    if not (np.isfinite(theirs).all() and bool(ours.isfinite().all())):
        return "its logits on random images are NaN or infinite"
    furthest = float(np.abs(ours.double().numpy() - theirs).max())
    allowed = TOLERANCE * float(np.abs(theirs).max())
    if furthest <= allowed:
        return None
    return (
        f"what the converter onnx2pytorch made of it does not compute what onnxruntime does: logits of random images "
        f"differ by up to {furthest:.3g}, where {allowed:.3g} would be rounding"
    )


def _external_data(model: str, _module: nn.Module) -> str:
    """Digest of the files beside it in which large ONNX files keep their numbers."""
    onnx = library("onnx", f"model {model!r}", _EXTRA)
    graph = onnx.load(model, load_external_data=False).graph
    places = {pair.value for tensor in graph.initializer for pair in tensor.external_data if pair.key == "location"}
    files = [Path(model).parent / place for place in sorted(places)]
    return "".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)


ONNX = Format(
    "FILE.onnx",
    accepts=lambda model: Path(model).suffix == ".onnx",
    load=_converted,
    takes=("shape", "say"),
    also=_external_data,
    needs=_NEEDS,
    extra=_EXTRA,
    holds="ONNX of either of PyTorch's exporters, and of others; the conversion is checked against onnxruntime",
    example="--model net.onnx --data mine.npz",
)
