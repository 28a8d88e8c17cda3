"""Is a submission what it says? Recomputed from its files alone: no model is loaded, and nothing in it is executed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ibrobust.errors import BadInput, shortened
from ibrobust.recipe import Recipe
from ibrobust.robustness.corruption_results import CorruptionResults
from ibrobust.robustness.evidence_files import evidence_path, read_evidence
from ibrobust.robustness.findings import earlier_findings, findings_table, with_supported_verdict
from ibrobust.robustness.proofs import image_faults, row_faults, same_claim
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.storage import AnyStored, load_stored
from ibrobust.submissions.archive import AUDIT, Submission
from ibrobust.submissions.claims import claim_of, in_words, provable, rankable
from ibrobust.submissions.limits import require_moderate
from ibrobust.submissions.manifest import ClaimRecord, Manifest
from ibrobust.tables import read_table


@dataclass(frozen=True)
class Checked:
    """What a submission holds, once it is known to be what it says.

    Attributes:
        lines: one about each result.
        needed: what it lacks and cannot be accepted without.
        wanted: what it lacks and would be better with.
    """

    lines: list[str]
    needed: list[str]
    wanted: list[str]


def checked(submission: Submission) -> Checked:
    """Raises:
    BadInput: something in it is not what it says; one line that names the file and the field.
    """
    with submission.named():
        return _checked(submission)


def _checked(submission: Submission) -> Checked:
    manifest, folder = submission.manifest, submission.folder
    for name in submission.names("", ".parquet"):
        require_moderate(folder / name)
    names = [name for name in submission.names("results/", ".parquet") if "/images/" not in name]
    if not names:
        raise BadInput("it holds no results")
    results = [load_stored(folder / name) for name in names]
    _require_one_model(manifest, names, results)
    audited = _audited(submission, results)
    images = [_images(folder / name, result) for name, result in zip(names, results, strict=True)]
    _require_no_other_images(submission, names)
    claims = [claim_of(*each) for each in zip(names, audited, images, strict=True)]
    _require_claims(manifest.claims, claims)
    _check_run(submission, results[0])
    return Checked([in_words(claim) for claim in claims], *_missing(submission, names, audited, images))


def _require_one_model(manifest: Manifest, names: Sequence[str], results: Sequence[AnyStored]) -> None:
    """All results are of the run that the manifest names, and of the same weights, code and recipe."""
    first = results[0].card.model
    for name, result in zip(names, results, strict=True):
        model = result.card.model
        assert model is not None, "the card of a file names its model"
        assert first is not None, "the card of a file names its model"
        if model.run != manifest.run:
            raise BadInput(f"{name}: it is of {model.run}, and the submission is of {manifest.run}")
        for field in ("weights_sha256", "code_sha256", "recipe"):
            if getattr(model, field) != getattr(first, field):
                raise BadInput(f"{name}: its {field} is not that of {names[0]}; a submission is of one model")


def _audited(submission: Submission, results: Sequence[AnyStored]) -> list[AnyStored]:
    """The results, with a verdict only where `audit.csv` supports it.

    Raises:
        BadInput: it holds findings that are not of exactly these rows.
    """
    if AUDIT not in submission.manifest.files:
        return [_supported(result, None) for result in results]
    held = earlier_findings(submission.folder / AUDIT)
    supported = [_supported(result, held) for result in results]
    known = [findings_table(r) for r in supported if not isinstance(r, CorruptionResults) and r.card.verdict]
    lines = {tuple(row) for table in known for row in table.itertuples(index=False)}
    for number, row in enumerate(held.itertuples(index=False), start=1):
        if tuple(row) not in lines:
            claim = f"{row.run}, {row.protocol}, {row.name}"
            raise BadInput(
                f"{AUDIT}: row {number} ({shortened(claim)}) is no finding of the audit of exactly these rows"
            )
    if len(held) != len(lines):
        raise BadInput(f"{AUDIT}: a row is there twice")
    return supported


def _supported(result: AnyStored, held: pd.DataFrame | None) -> AnyStored:
    return result if isinstance(result, CorruptionResults) else with_supported_verdict(result, held)


def _images(path: Path, result: AnyStored) -> int:
    """How many images prove a result.

    Raises:
        BadInput: one of them does not, or is of something else.
    """
    kept = evidence_path(path)
    if not kept.is_file():
        return 0
    if not isinstance(result, BreakingRadii):
        raise BadInput(f"{kept}: no image proves results under noise or corruptions")
    evidence = read_evidence(kept)
    if not same_claim(evidence.card, result.card):
        raise BadInput(f"{kept}: its card is not that of the results")
    if faults := [*image_faults(evidence), *row_faults(evidence.rows, result)]:
        raise BadInput(f"{kept}: {'; '.join(faults)}")
    return len(evidence.rows)


def _require_no_other_images(submission: Submission, names: Sequence[str]) -> None:
    known = {evidence_path(Path(name)).as_posix() for name in names}
    for name in submission.names("results/", ".parquet"):
        if "/images/" in name and name not in known:
            raise BadInput(f"{name}: there are no results of that name")


def _require_claims(stated: Sequence[ClaimRecord], found: Sequence[ClaimRecord]) -> None:
    if apart := {claim.file for claim in stated} ^ {claim.file for claim in found}:
        raise BadInput(f"submission.json: its claims are not one for each results file: {shortened(min(apart))}")
    if len(stated) != len(found):
        raise BadInput("submission.json: two of its claims are about one file")
    by_file = {claim.file: claim for claim in stated}
    for claim in found:
        for field, value in claim:
            if (said := getattr(by_file[claim.file], field)) != value:
                both = f"{shortened(str(said))}, and its files say {shortened(str(value))}"
                raise BadInput(f"submission.json: {field} of {claim.file} is {both}")


def _check_run(submission: Submission, result: AnyStored) -> None:
    """The run's own files are of the model that the results are about."""
    run, files, model = submission.manifest.run, submission.manifest.files, result.card.model
    assert model is not None, "the card of a file names its model"
    place = f"runs/{run}"
    if other := [name for name in submission.names("runs/") if not name.startswith(f"{place}/")]:
        raise BadInput(f"{other[0]}: the submission is of {run}")
    if not submission.names("runs/"):
        return
    if f"{place}/card.json" not in files:
        raise BadInput(f"{place}: it has no card.json")
    card = _json_object(submission.folder / place / "card.json")
    said = card.get("recipe")
    try:
        recipe = Recipe(**said) if isinstance(said, dict) else None
    except (ValueError, TypeError) as error:
        raise BadInput(f"{place}/card.json: its recipe is none: {shortened(str(error))}") from None
    for field, stated, known in (
        ("run", card.get("run"), run),
        ("weights_sha256", card.get("weights_sha256"), model.weights_sha256),
        ("recipe", recipe, model.recipe),
    ):
        if stated != known:
            raise BadInput(f"{place}/card.json: its {field} is not that of the results")
    weights = f"{place}/weights.safetensors"
    if weights in files and files[weights].sha256 != model.weights_sha256:
        raise BadInput(f"{weights}: they are not the weights that the results are about (SHA-256 differs)")
    if f"{place}/history.csv" in files:
        read_table(submission.folder / place / "history.csv", columns=["epoch"], numbers=None)


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is no JSON: {shortened(str(error))}") from None
    return content if isinstance(content, dict) else {}


def _missing(
    submission: Submission, names: Sequence[str], results: Sequence[AnyStored], images: Sequence[int]
) -> tuple[list[str], list[str]]:
    """What has to be there and is not, and what should be."""
    manifest, each = submission.manifest, list(zip(names, results, images, strict=True))
    needed = [
        f"images that prove {name} (evaluate --keep-images)"
        for name, result, count in each
        if provable(result) and not count
    ]
    if manifest.licence is None:
        needed.append("the model's licence (submit --licence MIT)")
    if manifest.reference is None and not submission.names("runs/", "weights.safetensors"):
        needed.append("where the model can be found (submit --reference https://..., or --weights)")
    wanted = [
        f"the audit of {name} (python -m ibrobust.audit; without it there is no rank)"
        for name, result, _ in each
        if rankable(result) and result.card.verdict is None
    ]
    if not any(rankable(result) for result in results):
        wanted.append("results of a strict protocol (evaluate --protocol strict; without them there is no rank)")
    return needed, wanted
