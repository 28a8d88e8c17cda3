"""Norms by name, one file each: all that attacks need to know of a ball."""

from ibrobust.attacks.norms.interface import (
    BALL_TOLERANCE,
    NORMS,
    Norm,
    RandomMoves,
    change_along,
    drawn_in,
    ordinary_size,
    straight_step,
    wide,
)

__all__ = [
    "BALL_TOLERANCE",
    "NORMS",
    "Norm",
    "RandomMoves",
    "change_along",
    "drawn_in",
    "ordinary_size",
    "straight_step",
    "wide",
]
