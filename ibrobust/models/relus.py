"""The ReLUs of anybody's model, as far as torch sees them: softened in the backward pass, or recorded.

A ReLU is seen that is called as `F.relu`, `torch.relu`, `Tensor.relu`, `nn.ReLU`, or as a clamp from below at 0, in
place or not; one inside a compiled or scripted model is not.
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ibrobust.models.bottleneck import View
from ibrobust.randomness import Draw, Noise
from ibrobust.types import Images, Logits


@dataclass(frozen=True)
class Gate:
    """What a ReLU lets through on the way back: 0 where its input is far below zero and 1 far above, as usual, and a
    linear rise between. The way forward stays exact.

    Attributes:
        width: half the width of the rise, in units of the layer's mean absolute input for that sample.
        slope: the least that is let through.
    """

    width: float
    slope: float = 0.0

    def passing(self, pre: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """The share of the gradient that each unit lets through."""
        if self.width == 0:
            return (pre > 0).to(pre.dtype).clamp(min=self.slope)
        typical = pre.abs().mean(dim=tuple(range(1, pre.ndim)), keepdim=True)
        half = (self.width * typical).clamp(min=torch.finfo(pre.dtype).tiny)
        return ((pre + half) / (2 * half)).clamp(self.slope, 1)


_GATE: ContextVar[Gate | None] = ContextVar("the gate that ReLUs have on the way back", default=None)
_RECORD: ContextVar[list[Tensor] | None] = ContextVar("where the inputs of ReLUs are kept", default=None)


def current_gate() -> Gate | None:
    """The gate inside `softened`, for layers that stand for a ReLU; None elsewhere."""
    return _GATE.get()


def recording() -> bool:
    """Whether the inputs of ReLUs are being recorded, so that a layer that hides some has to run as it was written."""
    return _RECORD.get() is not None


def softened(view: View, gate: Gate) -> View:
    """The same answers, their gradients through softened ReLUs."""

    def classify(x: Images, noise: Noise) -> Logits:
        token = _GATE.set(gate)
        try:
            with _Watched(lambda pre: _SoftRelu.apply(pre, gate)):
                return view.classify(x, noise)
        finally:
            _GATE.reset(token)

    return replace(view, classify=classify)


def relu_inputs(view: View, x: Images, noise: Noise) -> tuple[Logits, list[Tensor]]:
    """The view's answer, and the inputs of all ReLUs that torch sees on the way, in the order in which they run."""
    kept: list[Tensor] = []
    token = _RECORD.set(kept)
    try:
        with _Watched(lambda pre: _kept(pre, kept)):
            return view.classify(x, noise), kept
    finally:
        _RECORD.reset(token)


def sees_relus(view: View, x: Images) -> bool:
    """Whether torch sees a ReLU of this model."""
    with torch.no_grad():
        return bool(relu_inputs(view, x, Draw(torch.zeros(len(x), dtype=torch.int64, device=x.device)))[1])


def _kept(pre: Tensor, kept: list[Tensor]) -> Tensor:
    kept.append(pre)
    return pre.clamp(min=0)


class _SoftRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, gate: Gate) -> Tensor:
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(gate.passing(pre))
        return pre.clamp(min=0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (passing,) = ctx.saved_tensors
        return gradient * passing, None


_RELUS = {F.relu: False, F.relu_: True, torch.relu: False, torch.relu_: True, Tensor.relu: False, Tensor.relu_: True}
"""Every way to call a ReLU, and whether it works in place."""
_CLAMPS = {
    torch.clamp: False,
    torch.clamp_: True,
    torch.clip: False,
    torch.clip_: True,
    Tensor.clamp: False,
    Tensor.clamp_: True,
    Tensor.clip: False,
    Tensor.clip_: True,
}
_CLAMPS_BELOW = {torch.clamp_min: False, torch.clamp_min_: True, Tensor.clamp_min: False, Tensor.clamp_min_: True}


class _Watched(TorchFunctionMode):
    """Inside the block another function stands for every ReLU."""

    def __init__(self, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.relu = relu

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = _relu_call(func, args, kwargs or {})
        if found is None:
            return func(*args, **(kwargs or {}))
        pre, in_place = found
        return pre.copy_(self.relu(pre.clone())) if in_place else self.relu(pre)


def _relu_call(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, bool] | None:
    """What the ReLU that is called is given, and whether it works in place; None where the call is none."""
    try:
        relu, clamp, below = _RELUS.get(func), _CLAMPS.get(func), _CLAMPS_BELOW.get(func)
    except TypeError:  # Some callables have no hash.
        return None
    named = dict(zip(("input", "inplace") if relu is not None else ("input", "min", "max"), args, strict=False))
    given = named | {"input" if name == "self" else name: value for name, value in kwargs.items()}
    pre = given.get("input")
    if not isinstance(pre, Tensor) or not pre.is_floating_point() or pre.ndim < 2:
        return None
    if relu is not None:
        return pre, relu or bool(given.get("inplace"))
    in_place = clamp if clamp is not None else below
    if in_place is None or given.get("max") is not None or "out" in given or not _is_zero(given.get("min")):
        return None
    return pre, in_place


def _is_zero(bound: Any) -> bool:
    return isinstance(bound, int | float) and not isinstance(bound, bool) and bound == 0
