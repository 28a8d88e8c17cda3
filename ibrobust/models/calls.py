"""How anybody's model is called: in its own precision, on images of its own, away from its caller's context."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from ibrobust.models.answers import logits_in
from ibrobust.types import Images

_DEVICE_TYPES = ("cpu", "cuda", "mps", "xpu")
"""Where autocast may be on."""

_DEFAULT_TYPE: ContextVar[torch.dtype] = ContextVar("the caller's default type", default=torch.float32)


def called(model: nn.Module, path: Callable[[Tensor], Any] | None = None) -> Callable[[Images], Any]:
    """The model, or one path through it, as a function of float32 images that answers in float32.

    Of an answer that holds logits (`logits_in`) these are taken; what is no tensor of floating-point numbers comes back
    as it is.
    """
    answering = asked_as_it_is(model, path)

    def call(x: Images) -> Any:
        answer, _ = logits_in(answering(x))
        return answer.to(torch.float32) if isinstance(answer, Tensor) and answer.is_floating_point() else answer

    return call


def asked_as_it_is(model: nn.Module, path: Callable[[Tensor], Any] | None = None) -> Callable[[Images], Any]:
    """The model, or one path through it, as a function of float32 images that answers with whatever it answers.

    It is given a copy, so that what it writes into its input reaches nobody, in the type of its parameters.
    """
    classify, parameter_type = path or model, type_of_parameters(model)

    def ask(x: Images) -> Any:
        with callers_default_type():
            return classify(x.to(parameter_type, copy=True))

    return ask


def type_of_parameters(model: nn.Module) -> torch.dtype:
    """The floating-point type of most of its parameters; float32 where it has none."""
    sizes: dict[torch.dtype, int] = {}
    for parameter in model.parameters():
        if parameter.is_floating_point():
            sizes[parameter.dtype] = sizes.get(parameter.dtype, 0) + parameter.numel()
    return max(sizes, key=lambda dtype: sizes[dtype], default=torch.float32)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside the block, what surrounds it changes nothing: inference mode, autocast, anomaly detection, another default
    type or device, and compilation are off. A model that wants autocast switches it on in its `forward`.

    Compiled models run as they were written: a compiled backward pass frees what a second gradient through it needs,
    and every new batch size would be compiled anew.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        for device_type in _DEVICE_TYPES:
            if torch.is_autocast_enabled(device_type):
                stack.enter_context(torch.autocast(device_type, enabled=False))
        if torch.is_anomaly_enabled():
            stack.enter_context(torch.autograd.set_detect_anomaly(False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if (default := torch.get_default_dtype()) != torch.float32:
            stack.enter_context(_default_type(torch.float32))
            token = _DEFAULT_TYPE.set(default)
            stack.callback(_DEFAULT_TYPE.reset, token)
        if "torch._dynamo" in sys.modules:  # Nothing is compiled before that is imported.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


@contextmanager
def callers_default_type() -> Iterator[None]:
    """What a model creates inside its `forward` has the type that its owner chose for new tensors."""
    if (default := _DEFAULT_TYPE.get()) == torch.get_default_dtype():
        yield
    else:
        with _default_type(default):
            yield


@contextmanager
def _default_type(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
