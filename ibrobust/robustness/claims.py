"""What the paper's attacks say beside what strong ones say: a row for each recipe, over its training seeds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibrobust.errors import BadInput
from ibrobust.robustness.comparable import groups
from ibrobust.robustness.protocols import PROTOCOLS
from ibrobust.robustness.readings import Readings
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.same_runs import STRONGEST, of_every_seed, partners
from ibrobust.robustness.seeds import places_by_recipe
from ibrobust.robustness.settings import TOLD
from ibrobust.robustness.storage import Results
from ibrobust.robustness.unlike import fields_apart, recipe_of

_ABOUT = ("dataset", "model", "reg", "gamma", "adversarial", "noise", "n")
_OFF, _ON = "strict", "strict-rand"
"""The protocol of the last column: with the noise off, and with it on."""
_STRONGEST_SEEDS = f"{STRONGEST}_seeds"

_Curve = dict[float, float]
"""The share that survives, by radius; radii are those of float32."""


def protocol_of(view: str) -> str:
    """The protocol whose results the table of a view is made of."""
    return _OFF if view == "mean" else _ON


def is_claim(result: object, view: str = "mean") -> bool:
    """Whether a result can be a part of the table of a view: a trained run's, by all attacks of the strict protocol, or
    where the view has the noise on, by those of `strict-rand` and no others, because what all attacks leave together is
    read as a whole there."""
    if not isinstance(result, BreakingRadii | Readings) or result.card.settings.view != view:
        return False
    if result.card.model is None or result.card.model.recipe is None:
        return False
    asked = set(PROTOCOLS[protocol_of(view)].attacks)
    return asked == set(result.attacks) if isinstance(result, Readings) else asked <= set(result.attacks)


def claims_table(
    results: Sequence[Results], radii: Sequence[float] = (), strongest: Sequence[BreakingRadii] = ()
) -> pd.DataFrame:
    """A row for all results whose recipes differ in their seed alone and that answer the same question.

    Columns are what the recipe is (its other fields, as `epochs`, where rows differ in them), norm, columns and what
    else tables say of settings where results differ in it, `group`, as `groups` puts it, where rows would look alike
    though they answer different questions, `seeds`, and for each number its mean over the seeds with its standard
    deviation (n − 1; missing where there is one seed) in `*_sd` behind it: `clean`, the share that survives FGSM alone,
    the paper's four attacks and all of the strict protocol's at the largest radius (`fgsm@0.1`), and the mean of each
    over all radii (`fgsm_avg`); `verdicts` counts those of the audit. With the noise on the last is `strict-rand`, and
    shares are those of the view's reading.

    Where some result has a partner of the strongest protocol (`same_runs.partners`), `strongest_seeds` is how many of
    the seeds have one, and what those attacks leave stands behind the strict number (`strongest@0.1`): in rows where
    every seed has one, at radii that both were asked at; `strongest_avg` where they were asked at the same radii.

    Args:
        results: `is_claim` holds for each, with one view.
        radii: show these instead of the largest and the mean; a cell is empty at a radius that it was not attacked at.
            Seeds of which some were attacked at further radii, too, share a row.
        strongest: `is_strongest` holds for each.

    Raises:
        BadInput: no result was attacked at one of the radii; one line with those that there are.
    """
    beside = partners(results, strongest)
    _require_known([*results, *(partner for partner in beside if partner is not None)], radii)
    shown = any(partner is not None for partner in beside)
    lines = []
    further, settings = _further_fields(results), _settings_apart(results)
    questions = groups(results, radii)
    for places in places_by_recipe(results, radii):
        seeds, theirs = [results[place] for place in places], [beside[place] for place in places]
        used = dict(enumerate(of_every_seed(theirs, radii)))
        last = [{STRONGEST: _strongest_curve(used.get(place))} if shown else {} for place in range(len(seeds))]
        runs = pd.DataFrame([_shares(seed, more, radii) for seed, more in zip(seeds, last, strict=True)])
        mean, spread = runs.mean(), runs.std(ddof=1)
        numbers = {
            name: value for key in map(str, runs) for name, value in ((key, mean[key]), (f"{key}_sd", spread[key]))
        }
        verdicts = pd.Series([seed.card.stated_verdict for seed in seeds]).value_counts(sort=False)
        said = " ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
        how_many = {"seeds": len(places)} | ({_STRONGEST_SEEDS: len(theirs) - theirs.count(None)} if shown else {})
        asked = {name: seeds[0].card.settings.told[name] for name in settings} | {"group": questions[places[0]]}
        lines.append({**_about(seeds[0], further), **asked, **how_many, **numbers, "verdicts": said})
    table = pd.DataFrame(lines).sort_values([*_ABOUT, *further, *settings], ignore_index=True, kind="stable")
    if not table.duplicated([*_ABOUT, *further, *settings]).any():
        table = table.drop(columns="group")
    return table[[*(name for name in table if name != "verdicts"), "verdicts"]]


def printed_claims(table: pd.DataFrame) -> pd.DataFrame:
    """The same as text with fixed digits, each standard deviation behind its mean after ±; columns that are the same in
    all rows, of model and adversarial training, are left out, and so is `strongest_seeds` where it says what `seeds`
    says."""
    text = table[[name for name in table if f"{name}_sd" not in table and not str(name).endswith("_sd")]].copy()
    for name in (str(column) for column in table if f"{column}_sd" in table):
        text[name] = [_number(mean, spread) for mean, spread in zip(table[name], table[f"{name}_sd"], strict=True)]
    text[["gamma", "adversarial"]] = text[["gamma", "adversarial"]].map("{:g}".format)
    alike = [name for name in ("model", "adversarial") if text[name].nunique() == 1 and len(text) > 1]
    if _STRONGEST_SEEDS in text and text[_STRONGEST_SEEDS].equals(text["seeds"]):
        alike.append(_STRONGEST_SEEDS)
    order = [str(name) for name in table if str(name) in text and name not in alike]
    return text[order].astype(str)


def _curves(result: Results) -> dict[str, _Curve]:
    """What FGSM alone, the paper's attacks and all leave."""
    asked = {"fgsm": ("fgsm",), "paper": PROTOCOLS["paper"].attacks}
    robust = {name: result.robust_to_EN(attacks) for name, attacks in asked.items()}
    if isinstance(result, Readings):
        robust[_ON] = result.robust_EN
    else:
        robust[_OFF] = result.robust_to_EN(PROTOCOLS[_OFF].attacks)
    return {name: _curve(result.radii_E, robust_EN) for name, robust_EN in robust.items()}


def _strongest_curve(partner: BreakingRadii | None) -> _Curve:
    """Empty where there is no partner."""
    return _curve(partner.radii_E, partner.robust_to_EN(PROTOCOLS[STRONGEST].attacks)) if partner else {}


def _curve(radii_E: NDArray[np.float32], robust_EN: NDArray[np.bool_]) -> _Curve:
    return dict(zip(map(float, radii_E), map(float, robust_EN.mean(axis=1)), strict=True))


def _shares(result: Results, more: Mapping[str, _Curve], radii: Sequence[float]) -> dict[str, float]:
    """The clean share and those at these radii, or at the largest with the means over all; a curve of other radii than
    the result's has no such mean."""
    curves = {**_curves(result), **more}
    first = next(iter(curves.values()))
    at_radii = {
        f"{name}@{radius:g}": curve.get(float(np.float32(radius)), math.nan)
        for radius in radii or [max(first)]
        for name, curve in curves.items()
    }
    means = {
        f"{name}_avg": float(np.mean([*curve.values()])) if curve.keys() == first.keys() else math.nan
        for name, curve in curves.items()
    }
    return {"clean": result.clean, **at_radii, **({} if radii else means)}


def _require_known(results: Sequence[Results], radii: Sequence[float]) -> None:
    there = {float(each) for result in results for each in result.radii_E}
    for radius in radii:
        if float(np.float32(radius)) not in there:
            choices = sorted({float(f"{each:g}") for each in there})
            raise BadInput(f"eps: nothing was attacked at {radius:g}; choose from {', '.join(map(str, choices))}")


def _further_fields(results: Sequence[Results]) -> list[str]:
    """Fields of recipes, beside the seed and what is always shown, without which two recipes would look alike."""
    return fields_apart([recipe_of(result) for result in results], [_about(result, ()) for result in results], _ABOUT)


def _settings_apart(results: Sequence[Results]) -> list[str]:
    """What tables say of settings, where the results differ in it; the table itself is about one view."""
    return [name for name in TOLD if len({result.card.settings.told[name] for result in results}) > 1]


def _about(result: Results, further: Sequence[str]) -> dict[str, Any]:
    model, recipe = result.card.model, recipe_of(result)
    assert model is not None, "of a trained run"
    fields = {key: getattr(recipe, key) for key in ("model", "reg", "gamma", "adversarial", *further)}
    return {"dataset": result.card.dataset, **fields, "noise": model.noise or "", "n": len(result.sample_N)}


def _number(mean: float, spread: float) -> str:
    if math.isnan(mean):
        return ""
    return f"{mean:.3f}" if math.isnan(spread) else f"{mean:.3f} ± {spread:.3f}"
