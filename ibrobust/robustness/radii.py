"""`--eps`: text to a list of radii."""

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

from ibrobust.errors import BadInput

_FORMS = "write 0:0.1 (11 even radii), 0:0.1:21 (21 of them) or a list such as 2/255,0.05"


def parse_radii(eps: str | Sequence[float]) -> list[float]:
    """Strictly ascending radii ≥ 0, rounded to 12 digits so that a join on ε works.

    `0:0.1` is 11 even radii, `0:0.1:21` is 21, anything else a comma-separated list of numbers or fractions.

    Raises:
        BadInput: malformed, negative, not finite, or not ascending.
    """
    radii = _from_text(eps) if isinstance(eps, str) else [float(radius) for radius in eps]
    radii = [round(radius, 12) for radius in radii]
    if not radii or not all(math.isfinite(radius) and radius >= 0 for radius in radii):
        raise BadInput(f"--eps {eps!r}: radii are finite and not negative; {_FORMS}")
    if any(after <= before for before, after in itertools.pairwise(radii)):
        raise BadInput(f"--eps {eps!r}: radii ascend; {_FORMS}")
    if radii[-1] == 0:
        raise BadInput(f"--eps {eps!r}: at least one radius is above 0; {_FORMS}")
    return radii


def _from_text(text: str) -> list[float]:
    try:
        if ":" not in text:
            return [_number(part) for part in text.split(",")]
        first, last, *count = text.split(":")
        steps = int(count[0]) - 1 if count else 10
        if len(count) > 1 or steps < 1:
            raise ValueError(text)
        low, high = _number(first), _number(last)
        return [low + (high - low) * step / steps for step in range(steps + 1)]
    except (ValueError, ZeroDivisionError):
        raise BadInput(f"--eps {text!r} is not a list of radii; {_FORMS}") from None


def _number(text: str) -> float:
    return float(Fraction(text.strip())) if "/" in text else float(text)
