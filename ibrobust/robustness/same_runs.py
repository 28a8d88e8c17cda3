"""Results of the strongest protocol beside strict results of the same runs."""

import json
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ibrobust.robustness.comparable import groups
from ibrobust.robustness.protocols import PROTOCOLS
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.seeds import places_by_recipe
from ibrobust.robustness.settings import ATTACKED_BY
from ibrobust.robustness.storage import Results

STRONGEST = "strongest"


def is_strongest(result: object) -> bool:
    """Whether a result is a trained run's by all attacks of the strongest protocol."""
    if not isinstance(result, BreakingRadii) or result.card.model is None or result.card.model.recipe is None:
        return False
    return set(PROTOCOLS[STRONGEST].attacks) <= set(result.attacks)


def partners(results: Sequence[Results], strongest: Sequence[BreakingRadii]) -> list[BreakingRadii | None]:
    """For each result the one of the strongest protocol that is of the same run, weights, data and samples and has the
    same settings but for its attacks and radii, whatever their files are called; None where there is none, or where
    there are several, of which none is the right one."""
    known = defaultdict(list)
    for result in strongest:
        known[_key(result)].append(result)
    found = [known.get(_key(result), []) for result in results]
    return [several[0] if len(several) == 1 else None for several in found]


def of_every_seed(partners: Sequence[BreakingRadii | None], radii: Sequence[float] = ()) -> list[BreakingRadii]:
    """The partners of one recipe's seeds where each has one and all answer one question; else none, since a mean over
    some of the seeds is not to be read beside one over all of them.

    Args:
        radii: as `groups` takes them.
    """
    there = [partner for partner in partners if partner is not None]
    return there if len(there) == len(partners) and len(set(groups(there, radii))) == 1 else []


def left_out(results: Sequence[Results], strongest: Sequence[BreakingRadii], radii: Sequence[float] = ()) -> list[str]:
    """What a reader has to be told of results of the strongest protocol that no number rests on: a sentence about those
    that are no partners, and one about recipes of which some seeds have partners that cannot stand for all.

    Args:
        radii: as `groups` takes them.
    """
    beside = partners(results, strongest)
    used = [id(partner) for partner in beside if partner is not None]
    alone = sorted({result.card.run for result in strongest if id(result) not in used})
    sentences = []
    if alone:
        sentences.append(
            f"{STRONGEST}: left out because no strict result, or more than one of {STRONGEST}, is of the same run, "
            f"weights, samples and settings: {', '.join(alone)}"
        )
    rows = []
    for places in places_by_recipe(results, radii):
        there = [partner for place in places if (partner := beside[place]) is not None]
        if there and not of_every_seed([beside[place] for place in places], radii):
            why = (
                f"{len(there)} of {len(places)} seeds" if len(there) < len(places) else "seeds differ in their question"
            )
            rows.append(f"{there[0].card.run} ({why})")
    if rows:
        sentences.append(f"{STRONGEST}: left out of the rows of which not every seed has it: {', '.join(rows)}")
    return sentences


def _key(result: Results) -> str:
    """What a strict result and one of the strongest protocol have in common where they are of the same run."""
    card = result.card
    assert card.model is not None, "of a trained run"
    model = card.model.model_dump(mode="json", include={"run", "recipe", "noise", "weights_sha256", "plugins"})
    settings = card.settings.model_dump(mode="json", exclude={*ATTACKED_BY})
    samples = np.sort(result.sample_N["sample"].to_numpy()).tolist()
    return json.dumps([model, settings, card.dataset, card.data and card.data.fingerprint, samples], sort_keys=True)
