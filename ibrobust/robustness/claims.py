"""What the paper's attacks say beside what strong ones say: a row for each recipe, over its training seeds."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ibrobust.errors import BadInput
from ibrobust.robustness.protocols import PROTOCOLS
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.seeds import places_by_recipe

_ABOUT = ("dataset", "model", "reg", "gamma", "adversarial", "noise", "n")
_ASKED = {"fgsm": ("fgsm",), "paper": PROTOCOLS["paper"].attacks, "strict": PROTOCOLS["strict"].attacks}


def is_claim(result: object) -> bool:
    """Whether a result can be a part of the table: a trained run's, by all attacks of the strict protocol."""
    if not isinstance(result, BreakingRadii) or result.card.model is None or result.card.model.recipe is None:
        return False
    return set(_ASKED["strict"]) <= set(result.attacks)


def claims_table(results: Sequence[BreakingRadii], radii: Sequence[float] = ()) -> pd.DataFrame:
    """A row for all results whose recipes differ in their seed alone and that answer the same question.

    Columns are what the recipe is (its other fields, as `epochs`, where rows differ in them), `seeds`, and for each
    number its mean over the seeds with its standard deviation (n − 1; missing where there is one seed) in `*_sd` behind
    it: `clean`, the share that survives FGSM alone, the paper's four attacks and all of the strict protocol's at the
    largest radius (`fgsm@0.1`), and the mean of each over all radii (`fgsm_avg`); `verdicts` counts those of the audit.

    Args:
        results: `is_claim` holds for each.
        radii: show these instead of the largest and the mean; a row is empty at a radius that it was not attacked at.

    Raises:
        BadInput: no result was attacked at one of the radii; one line with those that there are.
    """
    _require_known(results, radii)
    lines = []
    further = _further_fields(results)
    for places in places_by_recipe(results):
        runs = pd.DataFrame([_shares(results[place], radii) for place in places])
        mean, spread = runs.mean(), runs.std(ddof=1)
        numbers = {
            name: value for key in map(str, runs) for name, value in ((key, mean[key]), (f"{key}_sd", spread[key]))
        }
        verdicts = pd.Series([results[place].card.stated_verdict for place in places]).value_counts(sort=False)
        said = " ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
        lines.append({**_about(results[places[0]], further), "seeds": len(places), **numbers, "verdicts": said})
    table = pd.DataFrame(lines).sort_values([*_ABOUT, *further], ignore_index=True, kind="stable")
    return table[[*(name for name in table if name != "verdicts"), "verdicts"]]


def printed_claims(table: pd.DataFrame) -> pd.DataFrame:
    """The same as text with fixed digits, each standard deviation behind its mean after ±; columns that are the same in
    all rows, of model and adversarial training, are left out."""
    text = table[[name for name in table if f"{name}_sd" not in table and not str(name).endswith("_sd")]].copy()
    for name in (str(column) for column in table if f"{column}_sd" in table):
        text[name] = [_number(mean, spread) for mean, spread in zip(table[name], table[f"{name}_sd"], strict=True)]
    text[["gamma", "adversarial"]] = text[["gamma", "adversarial"]].map("{:g}".format)
    alike = [name for name in ("model", "adversarial") if text[name].nunique() == 1 and len(text) > 1]
    order = [str(name) for name in table if str(name) in text and name not in alike]
    return text[order].astype(str)


def _shares(result: BreakingRadii, radii: Sequence[float]) -> dict[str, float]:
    radii_E = result.radii_E
    survives = {
        name: result.rows[[*attacks]].min(axis=1).to_numpy("float32")[None] > radii_E[:, None]
        for name, attacks in _ASKED.items()
    }
    places = [_place(result, radius) for radius in radii] if radii else [len(radii_E) - 1]
    at_radii = {
        f"{name}@{(radius if radii else radii_E[-1]):g}": math.nan if place is None else float(robust[place].mean())
        for radius, place in zip(radii or [0.0], places, strict=True)
        for name, robust in survives.items()
    }
    means = {} if radii else {f"{name}_avg": float(robust.mean()) for name, robust in survives.items()}
    return {"clean": result.clean, **at_radii, **means}


def _place(result: BreakingRadii, radius: float) -> int | None:
    """Where this radius stands among those of the result; radii are kept in float32."""
    found = np.flatnonzero(result.radii_E == np.float32(radius))
    return int(found[0]) if len(found) else None


def _require_known(results: Sequence[BreakingRadii], radii: Sequence[float]) -> None:
    for radius in radii:
        if all(_place(result, radius) is None for result in results):
            there = sorted({float(f"{each:g}") for result in results for each in result.radii_E})
            raise BadInput(f"eps: nothing was attacked at {radius:g}; choose from {', '.join(map(str, there))}")


def _further_fields(results: Sequence[BreakingRadii]) -> list[str]:
    """Fields of recipes, beside the seed and what is always shown, without which two recipes would look alike."""
    alike: dict[tuple[object, ...], dict[str, dict[str, Any]]] = {}
    for result in results:
        assert result.card.model is not None, "of a trained run"
        assert result.card.model.recipe is not None, "of a trained run"
        fields = result.card.model.recipe.model_dump(exclude={"seed", *_ABOUT})
        alike.setdefault(tuple(_about(result, ()).values()), {})[str(fields)] = fields
    groups = [list(recipes.values()) for recipes in alike.values()]
    return [name for name in groups[0][0] if any(len({str(fields[name]) for fields in group}) > 1 for group in groups)]


def _about(result: BreakingRadii, further: Sequence[str]) -> dict[str, Any]:
    model = result.card.model
    assert model is not None, "of a trained run"
    assert model.recipe is not None, "of a trained run"
    recipe = {key: getattr(model.recipe, key) for key in ("model", "reg", "gamma", "adversarial", *further)}
    return {"dataset": result.card.dataset, **recipe, "noise": model.noise or "", "n": len(result.rows)}


def _number(mean: float, spread: float) -> str:
    if math.isnan(mean):
        return ""
    return f"{mean:.3f}" if math.isnan(spread) else f"{mean:.3f} ± {spread:.3f}"
