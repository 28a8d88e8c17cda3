"""The results below folders, as commands read them."""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ibrobust.errors import BadInput
from ibrobust.result_folders import require_results_folders, result_files, results_folder

if TYPE_CHECKING:
    import pandas as pd

    from ibrobust.page.entries import Entry
    from ibrobust.robustness.corruption_results import CorruptionResults
    from ibrobust.robustness.storage import Results


def require_places(folders: Sequence[Path]) -> None:
    """Refuse what is no folder of results, and say of which folders nothing is read because they hold none.

    Raises:
        BadInput: as `require_results_folders`.
    """
    require_results_folders(folders)
    empty = [str(folder) for folder in folders if not result_files(results_folder(folder))]
    if empty and len(empty) < len(folders):
        print(f"note: no results in {', '.join(empty)}", file=sys.stderr)


def stored_results(folders: Sequence[Path]) -> "list[Results]":
    """Everything evaluated below the folders; shards of one evaluation are joined. A verdict stays where the findings
    beside the results support it."""
    return [entry.results for entry in stored_entries(folders)]


def stored_entries(folders: Sequence[Path]) -> "list[Entry]":
    """As `stored_results`, with the files that each result was joined from."""
    from ibrobust.robustness.findings import FINDINGS, earlier_findings

    shards, findings = defaultdict(list), {}
    for given in folders:
        folder = results_folder(given)
        findings[folder] = earlier_findings(folder / FINDINGS) if (folder / FINDINGS).is_file() else None
        for path in _result_files([given], corruptions=False):
            shards[path.parent.name, path.stem.partition("@")[0]].append(path)
    return [entry for _, paths in sorted(shards.items()) for entry in _joined(paths, findings)]


def stored_corruptions(folders: Sequence[Path]) -> "list[CorruptionResults]":
    """All results under corruptions below the folders."""
    from ibrobust.robustness.storage import joined, load_corruptions, versions_apart

    shards = defaultdict(list)
    for path in _result_files(folders, corruptions=True):
        shards[path.stem.partition("@")[0]].append(load_corruptions(path))
    return [joined(version) for _, parts in sorted(shards.items()) for version in versions_apart(parts)]


def _result_files(folders: Sequence[Path], *, corruptions: bool) -> list[Path]:
    """The files below the folders that hold results under corruptions, or all others."""
    from ibrobust.robustness.storage import is_of_corruptions

    return [
        path
        for given in folders
        for path in result_files(results_folder(given))
        if is_of_corruptions(path) == corruptions
    ]


def _joined(paths: Sequence[Path], findings: "Mapping[Path, pd.DataFrame | None]") -> "list[Entry]":
    """The results in files of one name: one, or where they are of several models or data that share it, one each, told
    apart by a digest behind the name."""
    from ibrobust.page.entries import Entry
    from ibrobust.robustness.findings import with_supported_verdict
    from ibrobust.robustness.storage import joined, load_results, versions_apart

    shards = [with_supported_verdict(load_results(path), findings[path.parent.parent]) for path in paths]
    try:
        return [Entry(joined(version), tuple(paths)) for version in versions_apart(shards)]
    except BadInput as error:
        raise BadInput(f"{', '.join(map(str, paths))}: {error}") from error
