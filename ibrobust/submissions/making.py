"""A run's results as one file: which of the files on disk belong to it, and what the manifest says of them."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

import ibrobust
from ibrobust.errors import BadInput
from ibrobust.files import require_replaceable, written_whole
from ibrobust.result_folders import IMAGES, result_files
from ibrobust.robustness.corruption_results import CorruptionResults
from ibrobust.robustness.evidence_files import evidence_path, read_evidence_rows
from ibrobust.robustness.findings import FINDINGS, earlier_findings, findings_table, with_supported_verdict
from ibrobust.robustness.storage import AnyStored, card_in, load_stored
from ibrobust.submissions.archive import AUDIT, record_of, unpacked, write_archive
from ibrobust.submissions.checking import Checked, checked
from ibrobust.submissions.claims import claim_of
from ibrobust.submissions.manifest import FORMAT, Manifest
from ibrobust.tables import save_table


@dataclass(frozen=True)
class About:
    """What only the one who submits can say: an SPDX identifier, an address, whom to ask. None where nobody says."""

    licence: str | None = None
    reference: str | None = None
    contact: str | None = None


def results_of(run: str, folder: Path) -> list[Path]:
    """The results files of a run below a folder of results.

    Raises:
        BadInput: there are none, or a file is not whole.
    """
    found = [path for path in result_files(folder) if card_in(path).run == run]
    if not found:
        raise BadInput(f"no results of run {run!r} in {folder}; evaluate it with keep_images (--keep-images)")
    return found


def write_submission(
    paths: Sequence[Path], out: Path, about: About, *, run_folder: Path | None = None, weights: bool = False
) -> Checked:
    """Write one file that holds these results and what lies beside them, and check it as `accept` does.

    Args:
        paths: results files of one run, in one folder of results.
        run_folder: the run's own folder, whose card and history go along; None where there is none.
        weights: whether its weights go along as well.

    Returns:
        What it holds and what it lacks.

    Raises:
        BadInput: files contradict each other; nothing is written then.
    """
    require_replaceable(out)
    with tempfile.TemporaryDirectory(prefix="ibrobust-") as temporary:
        results = [load_stored(path) for path in paths]
        files = {_name(path): path for path in paths}
        files |= {_name(kept): kept for path in paths if (kept := evidence_path(path)).is_file()}
        supported = _with_findings(paths, results)
        if len(table := _findings(supported)):
            files[AUDIT] = Path(temporary) / FINDINGS
            save_table(table, files[AUDIT])
        if run_folder:
            kept_of_run = ["card.json", "history.csv", *(["weights.safetensors"] if weights else [])]
            run = results[0].card.run
            files |= {f"runs/{run}/{name}": run_folder / name for name in kept_of_run if (run_folder / name).is_file()}
        claims = [
            claim_of(_name(path), result, _images_of(path)) for path, result in zip(paths, supported, strict=True)
        ]
        manifest = Manifest(
            format=FORMAT,
            run=results[0].card.run,
            licence=about.licence,
            reference=about.reference,
            contact=about.contact,
            version=ibrobust.__version__,
            claims=sorted(claims, key=lambda claim: claim.file),
            files={name: record_of(path) for name, path in files.items()},
        )
        made = Path(temporary) / "submission.zip"
        write_archive(manifest, files, made)
        with unpacked(made, called=str(out)) as submission:
            found = checked(submission)
        with written_whole(out) as unfinished:
            shutil.copyfile(made, unfinished)
    return found


def _name(path: Path) -> str:
    """The name in a submission of a results file, or of the images beside one."""
    images = path.parent.name == IMAGES
    protocol = path.parent.parent.name if images else path.parent.name
    return f"results/{protocol}/{'images/' if images else ''}{path.name}"


def _with_findings(paths: Sequence[Path], results: Sequence[AnyStored]) -> list[AnyStored]:
    """The results, with a verdict only where `audit.csv` in their folder supports it."""
    found = []
    for path, result in zip(paths, results, strict=True):
        table = path.parent.parent / FINDINGS
        held = earlier_findings(table) if table.is_file() else None
        found.append(result if isinstance(result, CorruptionResults) else with_supported_verdict(result, held))
    return found


def _findings(results: Sequence[AnyStored]) -> pd.DataFrame:
    """The findings that support the verdicts of the results, and no others."""
    tables = [findings_table(one) for one in results if not isinstance(one, CorruptionResults) and one.card.verdict]
    return pd.concat(tables) if tables else pd.DataFrame()


def _images_of(path: Path) -> int:
    kept = evidence_path(path)
    return len(read_evidence_rows(kept)[0]) if kept.is_file() else 0
