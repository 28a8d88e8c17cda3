"""A command whose blocks hold 16 samples, so that a few seconds of work have many: `small_blocks.py evaluate RUN …`."""

from ibrobust.commands.signals import run_command
from ibrobust.experiments.pace import FIRST, Pace


def small(_pace: Pace, _piece: int, left: int, _all_left: int) -> int:
    """In the place of `Pace.size`."""
    return min(FIRST, left)


if __name__ == "__main__":
    Pace.size = small  # type: ignore[method-assign]
    run_command("ibrobust.__main__")
