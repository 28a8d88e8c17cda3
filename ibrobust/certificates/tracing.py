"""What a model computes, operation by operation: recorded below autograd, from images that have a shape and no values.

Every tensor operation passes torch's dispatcher, whoever calls it: a module of any class, a hook, a parametrisation,
a function, autocast. So nothing that a model does to its images is missed, and whatever needs to see their values
(control flow that depends on data, NumPy, rounding to Python numbers) fails here instead of being taken for something
else.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from ibrobust.errors import BadInput
from ibrobust.models.answers import logits_in

_UNSEEN = ("data_ptr", "untyped_storage", "storage", "numpy", "__array__")
"""What reaches a tensor's values, or replaces them, without an operation that the dispatcher sees."""


@dataclass(frozen=True)
class Value:
    """The number of a recorded value: 0 is the images."""

    number: int


@dataclass(frozen=True)
class Operation:
    """One operation of the dispatcher that touches the images, directly or not.

    Attributes:
        name: of torch's operator, without its namespace, overload and the underscore of in-place operations.
        arguments: all of them by name; values in place of what depends on the images, other tensors as they are.
        output: which of the operator's outputs this value is.
        shape, dtype: of the output.
        place: the module whose `forward` called it.
    """

    name: str
    arguments: dict[str, Any]
    output: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    place: str

    def inputs(self) -> list[int]:
        return [leaf.number for leaf in tree_leaves(self.arguments) if isinstance(leaf, Value)]


@dataclass(frozen=True)
class Trace:
    """Values of a model from its images (value 0) on; value k is what operation k − 1 computed."""

    operations: list[Operation]
    shape: tuple[int, ...]
    dtype: torch.dtype
    answer: int

    def of(self, number: int) -> tuple[tuple[int, ...], torch.dtype]:
        """Shape and type of a value."""
        if number == 0:
            return self.shape, self.dtype
        return self.operations[number - 1].shape, self.operations[number - 1].dtype


def trace(model: nn.Module, like: Tensor, *, gradient: bool = False) -> Trace:
    """A model's operations on images of the shape, type and device of `like`; the model is called as it stands.

    Args:
        gradient: record as in a call whose gradient is wanted.

    Raises:
        BadInput: it does something that cannot be followed, or raises.
    """
    recorder = _Recorder(model)
    images = recorder.images(like)
    try:
        with torch.set_grad_enabled(gradient), _state_kept(model), _NothingUnseen(), recorder:
            answer, _ = logits_in(model(images.requires_grad_() if gradient else images))
    except BadInput:
        raise
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise BadInput(
            f"no certificate for {type(model).__name__}: what it does depends on the values of its images"
        ) from error
    except Exception as error:
        said = str(error).strip().splitlines()
        raise BadInput(
            f"no certificate for {type(model).__name__}: its operations cannot be followed: "
            f"{type(error).__name__}: {said[0] if said else 'no message'}"
        ) from error
    if not (isinstance(answer, Tensor) and (number := recorder.number_of(answer)) is not None):
        raise BadInput(f"no certificate for {type(model).__name__}: its answer is no tensor made from its images")
    return Trace(recorder.operations, tuple(like.shape), like.dtype, number)


class _NothingUnseen(TorchFunctionMode):
    """Refuses what changes or reads a tensor's values behind the dispatcher."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, owner = getattr(func, "__name__", ""), getattr(func, "__self__", None)
        is_property = name in ("__set__", "__delete__") and getattr(owner, "__name__", "") == "data"
        if is_property or (name in _UNSEEN and args and isinstance(args[0], Tensor)):
            raise BadInput(f"no certificate: the model reaches into a tensor's memory ({name.strip('_')})")
        return func(*args, **(kwargs or {}))


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the operations that depend on the images, and computes the others.

    An in-place operation makes its tensor a new value. Other tensors that share its memory are then out of date, and
    are refused where they are used.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self._model = type(model).__name__
        self._names = {id(module): name for name, module in model.named_modules()}
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._known: dict[int, tuple[Tensor, int, tuple[object, ...]]] = {}
        self._writes: dict[int, int] = {}
        self._images_memory: int | None = None

    def images(self, like: Tensor) -> Tensor:
        with self._fake:
            images = torch.empty(like.shape, dtype=like.dtype, device=like.device)
        self._remember(images, 0)
        self._images_memory = _memory(images)
        return images

    def number_of(self, tensor: Tensor) -> int | None:
        """The value that a tensor is now; None where it does not depend on the images."""
        if not isinstance(tensor, FakeTensor):
            return None
        _, number, place = self._known.get(id(tensor), (None, None, None))
        if number is None or place != self._place_in_memory(tensor):
            raise BadInput(
                f"no certificate for {self._model}: a tensor is used whose memory an in-place operation or a thread "
                "of its own has changed"
            )
        return number

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunction():
            return self._recorded(func, args, kwargs or {})

    def _recorded(self, func: Any, args: Any, kwargs: Any) -> Any:
        if func.namespace == "prim":
            return func(*args, **kwargs)
        if func._can_decompose():  # In inference mode torch leaves that to whoever comes later.
            with self:
                return func.decompose(*args, **kwargs)
        if not any(isinstance(leaf, FakeTensor) for leaf in tree_leaves((args, kwargs))):
            return self._constant(func, args, kwargs)
        arguments = tree_map(self._as_value, _by_name(func, args, kwargs))
        with self._fake:
            answer = func(*tree_map(_without_values, args), **tree_map(_without_values, kwargs))
        written = self._written(func, args, kwargs)
        outputs = answer if isinstance(answer, tuple | list) else [answer]
        name = func._schema.name.partition("::")[2]
        name = name.removesuffix("_") if written else name
        if not all(isinstance(output, FakeTensor) for output in outputs):
            raise BadInput(f"no certificate for {self._model}: {func} looks at the values of a tensor")
        place = self._place()
        for tensor in written:
            self._writes[_memory(tensor)] = self._writes.get(_memory(tensor), 0) + 1
        for index, output in enumerate(outputs):
            self.operations.append(Operation(name, arguments, index, tuple(output.shape), output.dtype, place))
            for tensor in [output, *written]:
                self._remember(tensor, len(self.operations))
        return answer

    def _constant(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What does not depend on the images is computed, if it is the same every time."""
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise BadInput(f"no certificate for {self._model}: it draws random numbers ({func})")
        if any(isinstance(leaf, Tensor) for leaf in self._written(func, args, kwargs)):
            raise BadInput(f"no certificate for {self._model}: it writes into a tensor that is not its own ({func})")
        answer = func(*args, **kwargs)
        if "empty" in func._schema.name and answer.numel():
            raise BadInput(f"no certificate for {self._model}: it uses memory that nothing was written to ({func})")
        return answer

    def _written(self, func: Any, args: Any, kwargs: Any) -> list[Tensor]:
        """The tensors that an operation changes.

        Raises:
            BadInput: one of them is the model's input, or does not come from it.
        """
        given = _by_name(func, args, kwargs)
        changed = [a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
        written = [leaf for name in changed for leaf in tree_leaves(given[name]) if isinstance(leaf, Tensor)]
        for tensor in written:
            if not isinstance(tensor, FakeTensor):
                raise BadInput(f"no certificate for {self._model}: it writes into a tensor of its own ({func})")
            if _memory(tensor) == self._images_memory:
                raise BadInput(f"no certificate for {self._model}: it writes into its input ({func})")
        if written and (len(written) != 1 or written[0] is not args[0]):
            raise BadInput(f"no certificate for {self._model}: {func} has no bounds")
        return written

    def _as_value(self, leaf: Any) -> Any:
        number = self.number_of(leaf) if isinstance(leaf, Tensor) else None
        return leaf if number is None else Value(number)

    def _remember(self, tensor: Tensor, number: int) -> None:
        self._known[id(tensor)] = (tensor, number, self._place_in_memory(tensor))

    def _place_in_memory(self, tensor: Tensor) -> tuple[object, ...]:
        """Where a tensor's values lie, and how often something was written there."""
        memory = _memory(tensor)
        writes = self._writes.get(memory, 0)
        return memory, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype, writes

    def _place(self) -> str:
        """The innermost module of the model that is being called."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            owner = frame.f_locals.get("self")
            if isinstance(owner, nn.Module) and id(owner) in self._names:
                return self._names[id(owner)] or self._model
            frame = frame.f_back
        return self._model


def _without_values(leaf: Any) -> Any:
    """A constant as a tensor that has its shape, type and device alone."""
    if not isinstance(leaf, Tensor) or isinstance(leaf, FakeTensor):
        return leaf
    return torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device=leaf.device)


def _by_name(func: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {argument.name: argument.default_value for argument in func._schema.arguments}
    arguments.update(zip(arguments, args, strict=False))
    arguments.update(kwargs)
    return arguments


def _memory(tensor: Tensor) -> int:
    """Which memory a tensor's values lie in."""
    with torch._C.DisableTorchFunction():
        return int(tensor.untyped_storage()._cdata)


@contextmanager
def _state_kept(model: nn.Module) -> Iterator[None]:
    """Refuses a model that is another one after a call.

    Raises:
        BadInput: the call changed an attribute of a module, or drew from NumPy's generator.
    """
    before, drawn = _state(model), _numpy_generator()
    yield
    if _state(model) != before:
        raise BadInput(f"no certificate for {type(model).__name__}: a call changes the model itself")
    if _numpy_generator() != drawn:
        raise BadInput(f"no certificate for {type(model).__name__}: it draws random numbers")


def _state(model: nn.Module) -> list[Any]:
    """What a module holds, by identity, with the version of its tensors."""
    return [
        (name, key, _identity(value)) for name, module in model.named_modules() for key, value in vars(module).items()
    ]


def _identity(value: Any) -> Any:
    if isinstance(value, bool | int | float | str | None):
        return value
    if isinstance(value, dict):
        return [(key, _identity(entry)) for key, entry in value.items()]
    if isinstance(value, list | tuple | set):
        return [_identity(entry) for entry in value]
    return (id(value), value._version) if isinstance(value, Tensor) and not value.is_inference() else id(value)


def _numpy_generator() -> tuple[Any, ...]:
    words: Any = np.random.get_state()
    return str(words[0]), np.asarray(words[1]).tobytes(), words[2:]
