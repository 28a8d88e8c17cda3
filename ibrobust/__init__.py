"""Is this classifier really robust, and how does that go with what it remembers of its input?"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ibrobust.robustness import breaking_radii

__version__ = "0.1.0"
__all__ = ["breaking_radii"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `--help` does not wait for torch.
    if name == "breaking_radii":
        from ibrobust.robustness import breaking_radii

        return breaking_radii
    raise AttributeError(f"module 'ibrobust' has no attribute {name!r}")
