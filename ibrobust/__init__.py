"""Is this classifier really robust, and how does that go with what it remembers of its input?"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ibrobust.robustness.breaking_radii import breaking_radii
    from ibrobust.robustness.corruption_accuracy import corruption_accuracy
    from ibrobust.robustness.noisy_readings import noisy_readings

__version__ = "0.3.0"
__all__ = ["breaking_radii", "corruption_accuracy", "noisy_readings"]

_HOME = {name: f"ibrobust.robustness.{name}" for name in __all__}


def __getattr__(name: str) -> Any:
    # Lazy, so that `--help` does not wait for torch.
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ibrobust' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
