"""Which results files hold the claim of a subject: the answer to one question, about exactly its model and data."""

from pathlib import Path

from ibrobust.experiments.subject import Subject
from ibrobust.robustness.settings import Settings
from ibrobust.robustness.storage import Results, load_results


def stored_claim(subject: Subject, settings: Settings, out: Path) -> tuple[Path, Results] | None:
    """The results file of exactly this model and data that answers this question, at whatever radii, if there is
    one."""
    for path in sorted((out / settings.label).glob(f"{subject.name}*.parquet")):
        results = load_results(path)
        theirs = results.card.settings
        if subject.describes(results.card) and theirs.file_stem("") == settings.file_stem(""):
            return path, results
    return None


def with_stored_columns(subject: Subject, settings: Settings, out: Path, *, named: bool) -> tuple[Settings, str]:
    """The settings with the columns that are audited, and in words which those are and what else is stored.

    Args:
        named: whether the caller chose the columns. If not, standing ones are audited where they alone are stored.
    """
    if settings.view != "mean":
        return settings, ""
    kinds = [settings.columns, "standing" if settings.columns == "own" else "own"]
    stored = [kind for kind in kinds if stored_claim(subject, settings.model_copy(update={"columns": kind}), out)]
    chosen = stored[0] if len(stored) == 1 and not named else kinds[0]
    others = [kind for kind in stored if kind != chosen]
    again = "; what single attacks break is computed again" if chosen == "standing" else ""
    beside = f"; {others[0]} ones are stored, too (--columns {others[0]})" if others else ""
    return settings.model_copy(update={"columns": chosen}), f", {chosen} columns{again}{beside}"
