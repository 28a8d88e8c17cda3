"""`eps`: a number, several, or text to a list of radii."""

import itertools
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import SupportsFloat

from ibrobust.errors import BadInput

_MOST = 10_000
"""Radii at most: more than anybody draws, and few enough for memory."""
_FORMS = "write 0:0.1 (11 even radii), 0:0.1:21 (21 of them) or a list such as 2/255,0.05"

Radii = str | SupportsFloat | Sequence[float]
"""Radii as callers write them: text, one number, or several (an array or a tensor counts as several)."""


def parse_radii(eps: Radii | object) -> list[float]:
    """Strictly ascending radii ≥ 0, rounded to 12 digits so that a join on ε works.

    `0:0.1` is 11 even radii, `0:0.1:21` is 21, other text a comma-separated list of numbers or fractions.

    Raises:
        BadInput: malformed, negative, not finite, or not ascending.
    """
    radii = _from_text(eps) if isinstance(eps, str) else _from_numbers(eps)
    radii = [round(radius, 12) for radius in radii]
    if not radii or not all(math.isfinite(radius) and radius >= 0 for radius in radii):
        raise BadInput(f"eps {eps!r}: radii are finite and not negative; {_FORMS}")
    if any(after <= before for before, after in itertools.pairwise(radii)):
        raise BadInput(f"eps {eps!r}: radii ascend; {_FORMS}")
    if radii[-1] == 0:
        raise BadInput(f"eps {eps!r}: at least one radius is above 0; {_FORMS}")
    return radii


def _from_numbers(eps: object) -> list[float]:
    try:
        several = isinstance(eps, Iterable) and getattr(eps, "ndim", 1) > 0
        return [float(radius) for radius in (eps if several else [eps])]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise BadInput(f"eps {eps!r} is no radius and no list of radii; {_FORMS}") from None


def _from_text(text: str) -> list[float]:
    try:
        if ":" not in text:
            return [_number(part) for part in text.split(",")]
        first, last, *count = text.split(":")
        steps = int(count[0]) - 1 if count else 10
        if len(count) > 1 or not 1 <= steps < _MOST:
            raise ValueError(text)
        low, high = _number(first), _number(last)
        return [low + (high - low) * step / steps for step in range(steps + 1)]
    except (ValueError, OverflowError, ZeroDivisionError):
        raise BadInput(f"eps {text!r} is not a list of radii; {_FORMS}") from None


def _number(text: str) -> float:
    return float(Fraction(text.strip())) if "/" in text else float(text)
