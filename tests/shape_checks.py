"""Types and shapes in signatures are checked once for each combination of them that a function meets.

jaxtyping's own wrapper takes tens of microseconds a call, and a search makes hundreds of thousands of calls with the
same shapes. What it finds depends on types, shapes and dtypes alone, so it need not look twice at the same ones. Of the
calls in one test, the first of each function are looked at, and then one of several.
"""

import dataclasses
import functools
import inspect
import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any

import jaxtyping
import numpy as np
from beartype import beartype
from jaxtyping import install_import_hook, jaxtyped
from torch import Tensor

FIRST, THEN = 64, 17
"""How many calls of a function in one test are looked at, and of how many later ones one is."""

CHECKS: dict[Any, "Check"] = {}
"""One for the code of each function: a function that is defined within another is checked once, not once a call."""


CALLED: list["Check"] = []
"""Those whose function was called in the test that is running."""


class Check:
    """The check of a function's signature, made when it is first needed, and the combinations that have passed."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.passed: set[Any] = set()
        self.calls = 0
        self._given = threading.local()
        self._fn: Callable[..., Any] | None = fn

    def __call__(self, answer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise TypeCheckError where arguments or answer are not what the signature says."""
        if self._fn is not None:
            self._checked, self._fn = jaxtyped(self._answering(self._fn), typechecker=beartype), None
        self._given.answer = answer
        try:
            self._checked(*args, **kwargs)
        finally:
            del self._given.answer

    def _answering(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """A function of the same signature, among the same names, that only answers with what it is given."""

        def answer(*_: Any, **__: Any) -> Any:
            return self._given.answer

        return functools.wraps(fn)(FunctionType(answer.__code__, fn.__globals__, closure=answer.__closure__))


def checked_once(fn: Callable[..., Any], check: Check | None = None) -> Callable[..., Any]:
    if check is None:
        check = CHECKS.get(fn.__code__) or CHECKS.setdefault(fn.__code__, Check(fn))
    passed = check.passed

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        answer = fn(*args, **kwargs)
        check.calls += 1
        if check.calls > FIRST and check.calls % THEN:
            return answer
        if check.calls == 1:
            CALLED.append(check)
        seen = (kind(answer), *map(kind, args), *((name, kind(kwargs[name])) for name in kwargs))
        if seen not in passed:
            check(answer, args, kwargs)
            passed.add(seen)
        return answer

    return wrapper


def begin_test() -> None:
    """Look at each function's first calls again."""
    for check in CALLED:
        check.calls = 0
    CALLED.clear()


def kind(value: object) -> Any:
    """What a check can see of a value: it finds the same in two values of one kind."""
    cls = type(value)
    look = LOOKS.get(cls)
    if look is None:
        look = LOOKS[cls] = next((look for family, look in FAMILIES.items() if issubclass(cls, family)), type)
    return look(value)


# The check of a list or dict looks at one of its items.
FAMILIES: dict[type, Callable[[Any], Any]] = {
    Tensor: lambda value: (type(value), value.shape, value.dtype),
    np.ndarray: lambda value: (type(value), value.shape, value.dtype),
    # A name may be one of a few that a signature lists; what is longer is none.
    str: lambda value: value if len(value) < 40 else str,
    type: lambda value: value,
    tuple: lambda value: (type(value), len(value), *map(kind, value[:8])),
    list: lambda value: (type(value), *map(kind, value[:2])),
    dict: lambda value: (type(value), *((kind(key), kind(value[key])) for key in list(value)[:2])),
}
LOOKS: dict[type, Callable[[Any], Any]] = {}


def checked(thing: Any) -> Any:
    """A function, method or dataclass whose signature is checked, as `jaxtyped` with beartype makes it."""
    if inspect.isclass(thing):
        if dataclasses.is_dataclass(thing):
            # Dataclasses whose fields have the same names have equal code there.
            thing.__init__ = checked_once(thing.__init__, Check(thing.__init__))
        return thing
    if isinstance(thing, classmethod | staticmethod):
        return type(thing)(checked_once(thing.__func__))
    if isinstance(thing, property):
        return property(*(part and checked_once(part) for part in (thing.fget, thing.fset, thing.fdel)))
    return checked_once(thing)


def install() -> None:
    """Check each function of the package that is imported from now on."""
    install_import_hook("ibrobust", "beartype.beartype")
    # The hook writes `@jaxtyping.jaxtyped(typechecker=…)` above each function and class.
    jaxtyping.jaxtyped = lambda *, typechecker: checked
