"""Names of models in a folder of results: a name is one model on one data set, so that no result overwrites another."""

import glob
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ibrobust.errors import BadInput
from ibrobust.experiments.subject import Subject
from ibrobust.files import as_name, checked_name
from ibrobust.robustness.card import ModelRecord
from ibrobust.robustness.storage import card_in


def distinguished(subjects: Sequence[Subject], names: Sequence[str], out: Path) -> list[Subject]:
    """The subjects, each by a name that no other model has in this call or in the results.

    A name that is made of file, factory and data gets a digest of model and data behind it where it is taken.

    Args:
        names: chosen for the subjects, one each; none to name them by their files.
        out: the folder of results.

    Raises:
        BadInput: a chosen name is no name, or another model, or the same on other data, has it.
    """
    found: list[Subject] = []
    for index, subject in enumerate(subjects):
        chosen = checked_name(names[index], "name") if names else subject.name
        if place := _taken(chosen, subject, found, out):
            if names:
                raise BadInput(f"name {chosen!r} is taken by another model, or the same on other data, in {place}")
            chosen = as_name(f"{subject.name}-{hashlib.sha256(repr(_identity(subject)).encode()).hexdigest()[:8]}")
        found.append(_renamed(subject, chosen))
    return found


def _taken(name: str, subject: Subject, others: Sequence[Subject], out: Path) -> str:
    """Where the name stands for something else; empty where it does not."""
    if any(other.name == name and _identity(other) != _identity(subject) for other in others):
        return "this call"
    for path in sorted(out.glob(f"*/{glob.escape(name)}*.parquet")):
        card = card_in(path)
        if card.model and card.data and card.run == name:
            theirs = (*_digests(card.model), card.data.fingerprint)
            if theirs != _identity(subject):
                return str(path)
    return ""


def _identity(subject: Subject) -> tuple[str | None, ...]:
    return (*_digests(subject.model_record), subject.data_record.fingerprint)


def _digests(model: ModelRecord) -> tuple[str | None, str | None]:
    return model.weights_sha256, model.code_sha256


def _renamed(subject: Subject, name: str) -> Subject:
    return replace(subject, name=name, model_record=subject.model_record.model_copy(update={"run": name}))
