"""Results at the radii of `--eps` alone, for commands that read them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ibrobust.errors import BadInput, shortened
from ibrobust.robustness.radii import parse_radii

if TYPE_CHECKING:
    from ibrobust.page.entries import Entry
    from ibrobust.robustness.storage import Results


def entries_at(entries: "Sequence[Entry]", eps: str) -> "list[Entry]":
    """The entries at these radii; says on standard error which were not attacked at each of them.

    Raises:
        BadInput: none was, or the text is no radii.
    """
    from ibrobust.page.entries import Entry
    from ibrobust.robustness.fewer_radii import at_radii

    radii = parse_radii(eps)
    parts = [(entry, at_radii(entry.results, radii)) for entry in entries]
    kept = [Entry(part, entry.files, whole=entry.results) for entry, part in parts if part is not None]
    if entries and not kept:
        there = sorted({radius for entry in entries for radius in entry.results.card.settings.radii})
        raise BadInput(f"--eps {_listed(radii)}: no result was attacked at each of these; there are {_listed(there)}")
    if out := [entry.run for entry, part in parts if part is None]:
        print(f"note: left out, not attacked at {_listed(radii)}: {shortened(', '.join(out))}", file=sys.stderr)
    return kept


def result_at(results: "Results", eps: str, path: Path) -> "Results":
    """The result in a file at these radii.

    Raises:
        BadInput: one of the radii was not tried, or the text is no radii.
    """
    from ibrobust.robustness.fewer_radii import at_radii

    radii = parse_radii(eps)
    part = at_radii(results, radii)
    if part is None:
        raise BadInput(f"--eps {_listed(radii)}: {path} has the radii {_listed(results.card.settings.radii)}")
    return part


def _listed(radii: Sequence[float]) -> str:
    return shortened(", ".join(f"{radius:g}" for radius in radii))
