"""Results with adversarial images for the tests of the page, and one with names that try to be more than text."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import ibrobust
from ibrobust.datasets import load_dataset
from ibrobust.files import released_zoo
from ibrobust.page.entries import Entry
from ibrobust.robustness.card import ModelRecord
from ibrobust.robustness.card_records import DataRecord
from ibrobust.robustness.evidence import evidence_path, save_evidence
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.storage import save_results
from ibrobust.subjects.zoo import load_run

RUNS = ("digits-mlp-l2-g0.1-s0-e99535be", "digits-mlp-weight-decay-g0.003-s0-8369c8c1")
HOSTILE = "<script>alert('name')</script>"
FORMULA = "=cmd|' /C calc'!A0"


def kept_results(folder: Path) -> list[Entry]:
    """Released runs attacked on 30 digits with their images kept, as files in the folder."""
    entries = []
    for result in _attacked():
        path = folder / "paper" / f"{result.card.run}.parquet"
        save_results(result, path)
        assert result.evidence is not None
        save_evidence(result.evidence, result.card, evidence_path(path))
        entries.append(Entry(result, (path,)))
    return entries


def hostile(entry: Entry) -> Entry:
    """The same result under names that would be markup or a formula where somebody took them for that."""
    card = entry.results.card
    assert card.model is not None
    recipe = card.model.recipe.model_copy(update={"reg": "<b>l2</b>", "gamma": 0.5})
    model = card.model.model_copy(update={"run": HOSTILE, "recipe": recipe})
    data = DataRecord(name=FORMULA)
    named = card.model_copy(update={"model": model, "data": data, "warnings": ["<img src=x onerror=alert(1)>"]})
    return Entry(replace(entry.results, card=named), entry.files)


@cache
def _attacked() -> list[BreakingRadii]:
    test = load_dataset("digits").test
    found = []
    for name in RUNS:
        run = load_run(released_zoo() / "runs" / name)
        table = ibrobust.breaking_radii(
            run.model(), test.x[:30], test.y[:30], eps=[0.0, 0.03, 0.06, 0.1], keep_images=True
        )
        record = ModelRecord(
            run=name, recipe=run.card.recipe, metrics=run.card.metrics, weights_sha256=run.card.weights_sha256
        )
        about = {"model": record, "data": DataRecord(name="digits")}
        found.append(replace(table, card=table.card.model_copy(update=about)))
    return found
