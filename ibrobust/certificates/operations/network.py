"""A recorded model as a network with bounds. Whatever is not in the table is refused.

An operation is read together with all its arguments and the shapes around it. Each is applied to every sample by
itself, and no constant differs between the samples of a batch.
"""

from collections.abc import Callable

import torch

from ibrobust.certificates.linear_bounds import Network
from ibrobust.certificates.operations import linear, piecewise, pooling, shapes
from ibrobust.certificates.steps import NoBounds, Steps
from ibrobust.certificates.tracing import Operation, Trace
from ibrobust.errors import BadInput

Builder = Callable[[Steps, Operation], int]
"""Adds an operation to the steps; the number of the value that it computes."""

OPERATIONS: dict[str, Builder] = {
    **dict.fromkeys(["detach", "alias", "clone", "contiguous", "_to_copy", "dropout", "feature_dropout"], shapes.alias),
    **dict.fromkeys(["view", "_unsafe_view", "reshape", "flatten", "squeeze", "unsqueeze"], shapes.reshape),
    **dict.fromkeys(["permute", "transpose"], shapes.permutation),
    "cat": shapes.concatenation,
    **dict.fromkeys(["split", "split_with_sizes"], shapes.split),
    "slice": shapes.channels,
    "constant_pad_nd": shapes.zero_padding,
    **dict.fromkeys(["reflection_pad2d", "replication_pad2d"], shapes.repeating_padding),
    "flip": shapes.flip,
    **dict.fromkeys(["addmm", "mm", "linear"], linear.linear),
    **dict.fromkeys(["convolution", "conv2d"], linear.convolution),
    **dict.fromkeys(
        ["native_batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit", "cudnn_batch_norm"],
        linear.batch_norm,
    ),
    **dict.fromkeys(["add", "sub", "rsub", "mul", "div"], linear.arithmetic),
    "neg": linear.negative,
    **dict.fromkeys(["relu", "threshold"], piecewise.relu),
    **dict.fromkeys(["clamp", "clamp_min", "hardtanh"], piecewise.clipped),
    "leaky_relu": piecewise.leaky_relu,
    **dict.fromkeys(["max_pool2d_with_indices", "max_pool2d"], pooling.max_pool),
    "avg_pool2d": pooling.average_pool,
    **dict.fromkeys(["_adaptive_avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"], pooling.adaptive_pool),
    **dict.fromkeys(["mean", "sum"], pooling.over_positions),
}
"""Builders by the name of torch's operator."""

_KNOWN = (
    "linear, conv2d, batch_norm, relu, leaky_relu, clamp, hardtanh, max_pool2d, avg_pool2d, adaptive_avg_pool2d, "
    "adaptive_max_pool2d, mean, sum, add, sub, mul, div, neg, cat, split, pad, flip, reshape, flatten, permute, dropout"
)
"""The table as people write it in PyTorch."""


def traced_network(trace: Trace, device: torch.device, model: str) -> Network:
    """The network that a trace computes.

    Raises:
        BadInput: an operation that the answer depends on has no bounds.
    """
    steps, needed = Steps(trace, device), _needed(trace)
    if not needed:
        raise BadInput(f"no certificate for {model}: it computes nothing")
    for number in needed:
        operation = trace.operations[number - 1]
        try:
            steps.reached(number, operation, _built(steps, operation))
        except NoBounds as reason:
            raise BadInput(
                f"no certificate for {model}: no bounds for the operation {operation.name!r} in {operation.place}: "
                f"{reason}"
            ) from None
    return steps.network(trace.answer)


def _built(steps: Steps, operation: Operation) -> int:
    if operation.name not in OPERATIONS:
        raise NoBounds(f"choose from {_KNOWN}")
    if operation.dtype not in (torch.float32, torch.float64):
        raise NoBounds(f"it computes in {str(operation.dtype).removeprefix('torch.')}")
    if operation.shape[:1] != steps.shape(0)[:1]:
        raise NoBounds("it mixes the samples of a batch, or takes the rows of images for samples")
    if operation.output and operation.name not in ("split", "split_with_sizes"):
        raise NoBounds("its second output")
    return OPERATIONS[operation.name](steps, operation)


def _needed(trace: Trace) -> list[int]:
    """Numbers of the operations' values that the answer depends on, in order."""
    needed, waiting = set(), [trace.answer]
    while waiting:
        number = waiting.pop()
        if number and number not in needed:
            needed.add(number)
            waiting += trace.operations[number - 1].inputs()
    return sorted(needed)
