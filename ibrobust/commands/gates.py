"""Conditions that end a command with exit code 3 where they are not met, so that a release can depend on them."""

from argparse import ArgumentTypeError
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ibrobust.commands.command_line import Parser
from ibrobust.errors import BadInput, NotMet, shortened
from ibrobust.robustness.radii import parse_radii

if TYPE_CHECKING:
    from ibrobust.robustness.storage import Results


class Floor(NamedTuple):
    """The share of the samples that has to survive all attacks at a radius."""

    share: float
    eps: float


def add_floor_flag(parser: Parser) -> None:
    """`--fail-below`, repeatable."""
    parser.add_argument(
        "--fail-below", type=_floor, action="append", default=[], metavar="SHARE@EPS",
        help="exit with code 3 where fewer samples survive, as 0.4@8/255; may be repeated",
    )  # fmt: skip


def require_radii(floors: Sequence[Floor], radii: Sequence[float], what: str) -> None:
    """Raises:
    BadInput: a floor is at a radius that was not tried.
    """
    for floor in floors:
        if floor.eps not in radii:
            tried = shortened(", ".join(f"{radius:g}" for radius in radii))
            raise BadInput(f"--fail-below {floor.share:g}@{floor.eps:g}: {what} has the radii {tried}")


def require_floors(floors: Sequence[Floor], results: "Sequence[Results]") -> None:
    """Raises:
    BadInput: a floor is at a radius that a result was not tried at.
    NotMet: fewer samples survive in one of the results.
    """
    for result in results:
        require_radii(floors, result.card.settings.radii, result.card.run)
    missed = []
    for floor in floors:
        for result in results:
            share = float(result.robust_EN[result.card.settings.radii.index(floor.eps)].mean())
            if share < floor.share:
                claim = f"{result.card.run} ({result.card.settings.label}, {result.card.settings.norm})"
                missed.append(f"{claim}: {share:.4f} survive ε = {floor.eps:g}, below {floor.share:g}")
    if missed:
        raise NotMet("; ".join(missed))


def _floor(text: str) -> Floor:
    share, at, eps = text.partition("@")
    try:
        floor = Floor(float(share), *parse_radii(eps))
    except (ValueError, TypeError):
        floor = Floor(-1, 0)
    if not (at and 0 <= floor.share <= 1):
        raise ArgumentTypeError(f"{shortened(text)!r}; write SHARE@EPS, as 0.4@8/255, with a share from 0 to 1")
    return floor
