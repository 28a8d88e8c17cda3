"""What the page shows of one run once it is opened."""

import base64
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ibrobust.entropies.intervals import WIDEST
from ibrobust.page.board import plain
from ibrobust.page.entries import Entry, certificate_of, history_in, submission_of
from ibrobust.page.pictures import pictures_of
from ibrobust.recipe import Recipe
from ibrobust.records import flag
from ibrobust.robustness.card import ResultCard
from ibrobust.robustness.results import ALL_ATTACKS
from ibrobust.robustness.settings import Settings
from ibrobust.robustness.statistics import wilson_interval
from ibrobust.robustness.storage import Results
from ibrobust.robustness.verdicts import evidence_of


def details_of(entry: Entry, samples: Sequence[int], histories: Mapping[str, Path]) -> dict[str, Any]:
    """Everything about one result, as JSON can hold it.

    Args:
        samples: whose pictures are shown, where there is evidence of them.
        histories: `entries.histories_of`.

    Raises:
        BadInput: a file beside the result is not whole.
    """
    results, card = entry.results, entry.results.card
    samples_N = results.sample_N["sample"].to_numpy()
    in_order = samples_N.argsort()
    history = histories.get(entry.weights or "")
    return {
        "about": {**_about(card), "submission": [list(pair) for pair in submission_of(entry).items()]},
        "commands": commands_of(card, samples_N.tolist()),
        "curves": _curves(results),
        "first": None if results.first_breakers is None else [list(first) for first in results.first_breakers],
        "audit": _audited(card),
        "supported": card.verdict is not None,
        "certificate": certificate_of(entry),
        "metrics": _told_metrics((card.model.metrics if card.model else None) or {}) or None,
        "history": _history(history_in(history)) if history else None,
        "samples": samples_N[in_order].tolist(),
        "survives": [_bits(row) for row in results.robust_EN[:, in_order]],
        "classes": (card.data and card.data.classes) or None,
        "pictures": pictures_of(entry, samples),
        "warnings": card.every_warning,
    }


def _told_metrics(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """What was measured, without the numbers whose bounds lie too far apart for one."""
    return {
        split: {
            name: value
            for name, value in values.items()
            if not values.get(f"{name}_high", math.nan) - values.get(f"{name}_low", math.nan) > WIDEST
        }
        for split, values in metrics.items()
    }


def _audited(card: ResultCard) -> dict[str, Any] | None:
    """What the audit found and, where its checks have kinds, how the claim stands."""
    if card.audit is None:
        return None
    evidence = evidence_of(card.audit.findings)
    about = {} if evidence is None else {"evidence": str(evidence)}
    return {**card.audit.model_dump(exclude={"plugins"}, exclude_none=True), **about}


def commands_of(card: ResultCard, samples: Sequence[int]) -> dict[str, str]:
    """The command lines that train the run again, where it has a recipe, and that attack it again."""
    recipe = card.model.recipe if card.model else None
    plugins = (card.model.plugins if card.model else None) or {}
    flags = [*_flags_of_settings(card.settings), *_flags_of_samples(min(samples), max(samples) + 1, len(samples))]
    if recipe is None:
        return {"evaluate": _line("evaluate", ["--model", "FILE.py:FACTORY", "--data", card.dataset, *flags], plugins)}
    return {
        "train": _line("train", _flags_of_recipe(recipe), plugins),
        "evaluate": _line("evaluate", [f"runs/{card.run}", *flags], plugins),
    }


def _about(card: ResultCard) -> dict[str, Any]:
    """Names and values of the recipe, the settings and what else the card says, in that order."""
    recipe = card.model.recipe if card.model else None
    settings = {key: value for key, value in card.settings.model_dump(mode="json").items() if value is not None}
    queries = sum(count.forward for count in card.queries.values()), sum(c.gradient for c in card.queries.values())
    rest = {
        "data": card.dataset,
        "data fingerprint": card.data.fingerprint if card.data else None,
        "weights SHA-256": card.model.weights_sha256 if card.model else None,
        "code SHA-256": card.model.code_sha256 if card.model else None,
        "queries": f"{queries[0]} forward, {queries[1]} gradient",
        **(card.versions or {}),
    }
    parts = {"recipe": recipe.model_dump(mode="json") if recipe else {}, "settings": settings, "card": rest}
    return {
        part: [[name, _text(value)] for name, value in values.items() if value is not None]
        for part, values in parts.items()
    }


def _curves(results: Results) -> dict[str, Any]:
    """Radii, and for each attack the share that survives with its 95 % Wilson interval."""
    n = len(results.sample_N)
    alone = [*results.attacks, *results.unattacked]
    right_AE = np.array([results.robust_EN.sum(1), *(results.robust_to_EN([attack]).sum(1) for attack in alone)])
    ends = [np.asarray(each).round(4).tolist() for each in wilson_interval(right_AE, n)]
    names = ("robust", "low", "high")
    curves = [
        {"attack": attack, **dict(zip(names, three, strict=True))}
        for attack, *three in zip([ALL_ATTACKS, *alone], *ends, strict=True)
    ]
    return {"radii": results.card.settings.radii, "n": n, "attacks": curves}


def _history(table: pd.DataFrame) -> dict[str, list[Any]]:
    return {str(name): [plain(value) for value in column] for name, column in table.items()}


def _bits(survives_N: Any) -> str:
    """Who survives, a bit per sample, the first in the highest bit of the first byte; base64."""
    return base64.b64encode(np.packbits(survives_N).tobytes()).decode()


def _flags_of_recipe(recipe: Recipe) -> list[str]:
    usual = {name: field.default for name, field in Recipe.model_fields.items()}
    usual["gamma"] = 0.0 if recipe.reg == "none" else usual["gamma"]
    given = {name: value for name, value in recipe if value != usual[name] or name in ("reg", "seed")}
    return [word for name, value in given.items() for word in (flag(name), _text(value))]


def _flags_of_settings(settings: Settings) -> list[str]:
    given = {name: value for name, value in settings.unusual.items() if value is not None}
    return [word for name, value in given.items() for word in (flag(name), _text(value))]


def _flags_of_samples(first: int, end: int, count: int) -> list[str]:
    """No flag names samples with gaps between them; then all are taken."""
    return ["--samples", str(end) if first == 0 else f"{first}:{end}"] if end - first == count else []


def _line(command: str, words: Sequence[str], plugins: Mapping[str, str]) -> str:
    more = [word for name in plugins for word in ("--plugin", name)]
    return shlex.join(["python", "-m", f"ibrobust.{command}", *words, *more])


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
