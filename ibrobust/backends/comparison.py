"""Two evaluations of the same samples side by side: where they agree, and whether ours is the weaker one."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibrobust.errors import BadInput
from ibrobust.robustness.results import ALL_ATTACKS, BreakingRadii

TOLERANCE = 0.004
"""Share of the samples by which counts may differ for no other reason than another random start."""


def compared(ours: BreakingRadii, theirs: BreakingRadii) -> pd.DataFrame:
    """A row per attack that both ran (and `all` of those) and radius: `n`, how many samples are robust in `ours` and
    in `theirs`, how many fell `only_to_ours` and `only_to_theirs`, and the share on which the two `agree`.

    Raises:
        BadInput: they are not of the same samples at the same radii.
    """
    if (
        ours.rows["sample"].tolist() != theirs.rows["sample"].tolist()
        or ours.card.settings.radii != theirs.card.settings.radii
    ):
        raise BadInput("only evaluations of the same samples at the same radii can be compared")
    shared = [attack for attack in ours.attacks if attack in theirs.attacks]
    pairs = [(attack, _column(ours, attack), _column(theirs, attack)) for attack in shared]
    pairs.append((ALL_ATTACKS, _smallest(ours, shared), _smallest(theirs, shared)))
    rows = []
    for attack, ours_N, theirs_N in pairs:
        for eps, radius in zip(ours.card.settings.radii, ours.radii_E, strict=True):
            stands_in_ours, stands_in_theirs = ours_N > radius, theirs_N > radius
            rows.append(
                {
                    "attack": attack,
                    "eps": eps,
                    "n": len(ours_N),
                    "ours": int(stands_in_ours.sum()),
                    "theirs": int(stands_in_theirs.sum()),
                    "only_to_ours": int((~stands_in_ours & stands_in_theirs).sum()),
                    "only_to_theirs": int((stands_in_ours & ~stands_in_theirs).sum()),
                    "agree": float((stands_in_ours == stands_in_theirs).mean()),
                }
            )
    return pd.DataFrame(rows)


def too_weak(ours: BreakingRadii, theirs: Mapping[str, BreakingRadii]) -> pd.DataFrame:
    """The radii at which more samples survive all our attacks than survive those of the library that leaves fewest,
    by more than `TOLERANCE` of the samples: `eps`, `ours`, `theirs`, `backend`. Empty is good."""
    everything = pd.concat([compared(ours, peer).assign(backend=name) for name, peer in theirs.items()])
    everything = everything[everything["attack"] == ALL_ATTACKS]
    lowest = everything.sort_values("theirs", kind="stable").groupby("eps", as_index=False).first()
    weaker = lowest[lowest["ours"] > lowest["theirs"] + TOLERANCE * lowest["n"]]
    return weaker[["eps", "ours", "theirs", "backend"]].reset_index(drop=True)


def _column(results: BreakingRadii, attack: str) -> NDArray[np.float32]:
    return results.rows[attack].to_numpy(dtype=np.float32)


def _smallest(results: BreakingRadii, attacks: list[str]) -> NDArray[np.float32]:
    smallest: NDArray[np.float32] = results.rows[attacks].to_numpy(dtype=np.float32).min(axis=1)
    return smallest
