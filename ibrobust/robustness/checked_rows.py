"""Whether the rows of a results file can be what its card says they are."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ibrobust.errors import BadInput, shortened
from ibrobust.robustness.attack_seeds import seed_column, seed_columns
from ibrobust.robustness.card import ResultCard
from ibrobust.robustness.corruption_results import SEVERITIES, UNKNOWN, column
from ibrobust.robustness.readings import NULL_ATTACK, READINGS
from ibrobust.robustness.results import ALL_ATTACKS, NAN_GRADIENT, SAMPLE_COLUMNS

_KINDS = {
    "sample": "iu",
    "label": "iu",
    "prediction": "iu",
    "zero_gradient": "b",
    NAN_GRADIENT: "b",
    "attack": "OSU",
    "eps": "f",
}
_WORDS = {"i": "whole numbers", "b": "true or false", "O": "text", "f": "32-bit numbers"}


def check_rows(rows: pd.DataFrame, card: ResultCard) -> None:
    """Raises:
    BadInput: a column is missing, of another kind, or holds what no evaluation leaves behind; names the column.
    """
    if card.corruptions:
        _check_corruptions(rows, card.corruptions.names)
        return
    noisy = card.settings.view != "mean"
    radii = [*card.attacks, *seed_columns([*card.attacks], card.settings.seeds)]
    expected = [*SAMPLE_COLUMNS, *(["attack", "eps"] if noisy else radii)]
    if missing := [name for name in expected if name not in rows]:
        raise BadInput(f"its rows lack the column {shortened(repr(missing[0]))}")
    known = {*expected, NAN_GRADIENT, *(READINGS if noisy else ())}
    if unknown := [name for name in rows if name not in known]:
        raise BadInput(f"its column {shortened(repr(unknown[0]))} is none of its attacks")
    if not len(rows):
        raise BadInput("it holds no samples")
    for name in [*expected, *([NAN_GRADIENT] if NAN_GRADIENT in rows else [])]:
        _check_kind(rows[name], name)
    for name in ("sample", "label", "prediction"):
        if rows[name].min() < 0:
            raise BadInput(f"its column {name} holds {rows[name].min()}; those are whole numbers from 0 on")
    if noisy:
        _check_readings(rows, card)
    else:
        _check_radii(rows, radii, card)


def _check_corruptions(rows: pd.DataFrame, names: Sequence[str]) -> None:
    """A class, a whole number from 0 on, in each column; the clean prediction may be unknown."""
    answers = [column(name, severity) for name in names for severity in SEVERITIES]
    expected = ["sample", "label", "prediction", *answers]
    if set(rows) != set(expected) or not answers:
        odd = sorted(set(rows) ^ set(expected), key=str) or ["fog@1"]
        raise BadInput(f"its rows do not have the columns of its corruptions: {shortened(repr(odd[0]))}")
    if not len(rows):
        raise BadInput("it holds no samples")
    for name in expected:
        if rows[name].dtype.kind not in "iu" or rows[name].min() < (UNKNOWN if name == "prediction" else 0):
            raise BadInput(f"its column {shortened(repr(name))} does not hold whole numbers from 0 on")
    if rows["sample"].duplicated().any():
        raise BadInput("its column sample names a sample twice")


def _check_kind(column: pd.Series, name: str) -> None:
    kinds = _KINDS.get(name, "f")
    values = column.astype(str).to_numpy() if isinstance(column.dtype, pd.CategoricalDtype) else column.to_numpy()
    if values.dtype.kind not in kinds or (kinds == "f" and values.dtype != np.float32):
        raise BadInput(f"its column {shortened(repr(name))} does not hold {_WORDS[kinds[0]]}")


def _check_radii(rows: pd.DataFrame, columns: Sequence[str], card: ResultCard) -> None:
    """Breaking radii are 0 where the clean prediction is wrong and there alone, else a radius that was tried or ∞; of
    several attack seeds the smallest stands in the attack's own column."""
    if rows["sample"].duplicated().any():
        raise BadInput("its column sample names a sample twice")
    tried = np.asarray([0, np.inf, *(radius for radius in card.settings.radii if radius > 0)], dtype=np.float32)
    wrong = (rows["label"] != rows["prediction"]).to_numpy()
    for name in columns:
        values = rows[name].to_numpy()
        if len(strange := values[~np.isin(values, tried)]):
            raise BadInput(f"its column {name} holds {strange[0]:g}, which is no radius of its card")
        if ((values == 0) != wrong).any():
            raise BadInput(f"its column {name} is 0 elsewhere than where the clean prediction is wrong")
    for name in card.attacks if len(columns) > len(card.attacks) else ():
        each = rows[[seed_column(name, seed) for seed in card.settings.seeds]].to_numpy()
        if (each.min(axis=1) != rows[name].to_numpy()).any():
            raise BadInput(f"its column {name} is not the smallest of its attack seeds")


def _check_readings(rows: pd.DataFrame, card: ResultCard) -> None:
    """A row per sample, attack and radius, in that order, with the scores that the view needs."""
    reading = card.settings.view.partition(":")[0]
    scores = [name for name in READINGS if name in rows]
    if reading not in scores:
        raise BadInput(f"its rows lack the column {reading!r}")
    if broken := [name for name in scores if rows[name].dtype != bool]:
        raise BadInput(f"its column {broken[0]} does not hold {_WORDS['b']}")
    names = rows["attack"].astype(str).to_numpy()
    each = len(card.attacks) + 2
    radii = np.asarray(card.settings.radii, dtype=np.float32)
    per_sample = each * len(radii)
    first = names[: per_sample : len(radii)]
    if len(rows) % per_sample or set(first) != {NULL_ATTACK, ALL_ATTACKS, *card.attacks}:
        raise BadInput("its column attack does not name the null attack, each attack and all for every sample")
    count = len(rows) // per_sample
    samples = rows["sample"].to_numpy().reshape(count, per_sample)
    whole = (names == np.tile(np.repeat(first, len(radii)), count)).all()
    if not whole or (samples != samples[:, :1]).any() or len(np.unique(samples[:, 0])) != count:
        raise BadInput("its rows are not one per sample, attack and radius")
    if not np.array_equal(rows["eps"].to_numpy(dtype=np.float32), np.tile(radii, count * each)):
        raise BadInput("its column eps does not hold the radii of its card")
