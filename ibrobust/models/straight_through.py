"""Gradients through steps, of anybody's model as far as torch sees them (BPDA: Athalye et al. 2018). The way forward
stays exact; on the way back what is rounded, cut off, compared, saturated or detached lets the gradient through.

Seen are rounding, signs, comparisons that are turned into numbers, multiplied or chosen by, argmax with `one_hot`,
clamps, tanh, sigmoid, softmax and `detach`, called on float tensors of a batch; not what happens under
`torch.no_grad`, in another library or inside a compiled or scripted model.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ibrobust.models.bottleneck import View
from ibrobust.randomness import Noise
from ibrobust.types import Images, Logits

Soft = Callable[[Tensor], Tensor]


def straight_through(view: View) -> View:
    """The same answers, their gradients through every step that torch sees."""

    def classify(x: Images, noise: Noise) -> Logits:
        with _Through():
            return view.classify(x, noise)

    return replace(view, classify=classify)


def _passed(hard: Tensor, soft: Tensor) -> Tensor:
    """The hard values, to the bit, with the gradient of the soft ones."""
    answer: Tensor = _Passed.apply(hard, soft)
    return answer


class _Passed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hard: Tensor, soft: Tensor) -> Tensor:
        ctx.type = soft.dtype
        return hard.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient.to(ctx.type)


def _spread(z: Tensor) -> Tensor:
    """How large values are in each sample, at least 1: functions that are flat beyond a few units are stretched."""
    return _typical(z).clamp(min=1)


def _typical(z: Tensor) -> Tensor:
    """The mean absolute value of each sample."""
    return z.detach().abs().mean(dim=tuple(range(1, z.ndim)), keepdim=True) if z.ndim > 1 else z.detach().abs()


def _switch(difference: Tensor) -> Tensor:
    """What stands for `difference > 0` on the way back."""
    return torch.sigmoid(4 * difference / _typical(difference).clamp(min=torch.finfo(difference.dtype).tiny))


_STEPS: dict[str, Soft] = {
    **dict.fromkeys(("round", "floor", "ceil", "trunc", "fix", "detach", "clamp", "clip", "hardtanh"), lambda z: z),
    **dict.fromkeys(("sign", "sgn"), lambda z: 2 * _switch(z)),
    "tanh": lambda z: torch.tanh(z / _spread(z)),
    "sigmoid": lambda z: torch.sigmoid(z / _spread(z)),
}
_COMPARED = {"gt": 1, "ge": 1, "greater": 1, "greater_equal": 1, "lt": -1, "le": -1, "less": -1, "less_equal": -1}
_COMPARED |= {f"__{name}__": sign for name, sign in _COMPARED.items() if len(name) == 2}
_TO_NUMBERS = ("float", "double", "to", "type", "type_as", "half", "bfloat16")
_LEAVES_TORCH = ("numpy", "__array__", "tolist", "item", "__dlpack__")
"""What takes no tensor that has a gradient: `detach` before it was for that."""
_JOINS = {"stack": torch.stack, "cat": torch.cat, "concat": torch.cat}
_PRODUCTS = ("mul", "multiply", "__mul__", "__rmul__")


class _Through(TorchFunctionMode):
    """Inside the block steps let gradients through; flags and places keep the soft values that stand for them."""

    def __init__(self) -> None:
        super().__init__()
        self._soft: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _LEAVES_TORCH:
            args = (args[0].detach(), *args[1:])
        answer = func(*args, **kwargs)
        if not isinstance(answer, Tensor) or not args or not torch.is_grad_enabled():
            return answer
        soft = self._stand_in(name, answer, args, kwargs)
        if soft is None or soft.shape != answer.shape or not soft.requires_grad:
            return answer
        if answer.is_floating_point():
            return _passed(answer.detach(), soft)
        self._soft[id(answer)] = answer, soft  # Kept alive, so that no other tensor takes its number.
        return answer

    def _stand_in(self, name: str, answer: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        """What stands for an answer on the way back; None where the answer can stand for itself."""
        first = args[0]
        other = args[1] if len(args) > 1 else kwargs.get("other")
        soft: Tensor | None = None
        if name == "where" and len(args) == 3:
            gate = self._of(first)
            soft = None if gate is None else gate * args[1] + (1 - gate) * args[2]
        elif name in _PRODUCTS:
            gates = [self._of(first), self._of(other)]
            if any(gate is not None for gate in gates):
                left, right = (one if gate is None else gate for one, gate in zip((first, other), gates, strict=True))
                soft = left * right
        elif name in _JOINS and isinstance(first, list | tuple):
            soft = self._joined(_JOINS[name], first, args[1:], kwargs)
        elif name in (*_TO_NUMBERS, "one_hot"):
            soft = self._of(first)
        elif name in ("__invert__", "logical_not", "bitwise_not"):
            gate = self._of(first)
            soft = None if gate is None else 1 - gate
        elif isinstance(first, Tensor) and first.is_floating_point():
            soft = self._of_floats(name, first, other, answer, kwargs)
        return soft

    def _joined(self, join: Callable[..., Tensor], parts: Any, args: Any, kwargs: Any) -> Tensor | None:
        gates = [self._of(part) for part in parts]
        if not any(gate is not None for gate in gates):
            return None
        return join(
            [part.float() if gate is None else gate for part, gate in zip(parts, gates, strict=True)], *args, **kwargs
        )

    def _of_floats(self, name: str, z: Tensor, other: Any, answer: Tensor, kwargs: dict[str, Any]) -> Tensor | None:
        soft: Tensor | None = None
        if name in _STEPS:
            soft = _STEPS[name](z)
        elif name in _COMPARED and other is not None:
            soft = _switch(_COMPARED[name] * (z - other))
        elif name == "softmax" and isinstance(axis := kwargs.get("dim", other), int):
            soft = torch.softmax(z / _spread(z), axis)
        elif name == "argmax" and z.ndim == 2 and answer.ndim == 1:
            # Not of the answer's shape: it waits for `one_hot`.
            self._soft[id(answer)] = answer, torch.softmax(z / _spread(z), 1)
        return soft

    def _of(self, value: Any) -> Tensor | None:
        """What stands for a flag or a place on the way back."""
        held = self._soft.get(id(value))
        return held[1] if held is not None and held[0] is value else None
