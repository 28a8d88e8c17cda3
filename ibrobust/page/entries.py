"""A result and what lies on disk beside it: evidence, certificates, and the history of the run's training."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ibrobust.errors import BadInput, one_line
from ibrobust.files import as_name, entries, released_zoo
from ibrobust.robustness.certified import SharesE, certified_shares
from ibrobust.robustness.storage import Results
from ibrobust.submissions.manifest import MANIFEST, manifest_of
from ibrobust.tables import read_table

CERTIFIED = "certified.csv"


@dataclass(frozen=True)
class Entry:
    """One row of the leaderboard: a result, the files that it was joined from, and what these hold where the result
    is a part of it."""

    results: Results
    files: tuple[Path, ...]
    whole: Results | None = None

    @property
    def stored(self) -> Results:
        """What the files hold."""
        return self.whole or self.results

    @property
    def run(self) -> str:
        return self.results.card.run

    @property
    def certain(self) -> SharesE | None:
        """The share that is certain at each radius, of certificates beside the results; None without any."""
        return certified_shares(self.results, list(dict.fromkeys(file.parent.parent for file in self.files)))

    @property
    def weights(self) -> str | None:
        """The SHA-256 of the model's weights, where the card says it."""
        model = self.results.card.model
        return model.weights_sha256 if model else None


def submission_of(entry: Entry) -> dict[str, str]:
    """Licence, reference and contact of the submission that the result came in; empty where it came in none.

    Raises:
        BadInput: the manifest beside the result is none.
    """
    path = entry.files[0].parent.parent.parent / MANIFEST if entry.files else None
    if path is None or not path.is_file():
        return {}
    manifest = manifest_of(path.read_bytes())
    told = {"licence": manifest.licence, "model": manifest.reference, "contact": manifest.contact}
    return {name: text for name, text in told.items() if text and manifest.run == entry.run}


def keys_of(listed: Sequence[Entry]) -> list[str]:
    """For each entry a name that no other has: what a link to it says. Stable while the entries before it are."""
    found: list[str] = []
    for entry in listed:
        settings = entry.results.card.settings
        key = f"{settings.label}/{settings.file_stem(as_name(entry.run))}"
        taken = sum(other == key or other.startswith(f"{key}~") for other in found)
        found.append(f"{key}~{taken + 1}" if taken else key)
    return found


def certificate_of(entry: Entry) -> dict[str, object] | None:
    """The row of `certified.csv` in the folder of the results that is about this run and protocol; None without one.
    `shares`, where it is known, is the share of all the result's samples that is certain at each radius.

    Raises:
        BadInput: the file is no table of certificates.
    """
    settings = entry.results.card.settings
    if (settings.norm, settings.view) != ("linf", "mean"):
        return None  # Certificates are about L∞ and the mean path.
    numbers = ["n", "certified", "attacked", "closed", "eps", "certified@eps", "robust@eps", "refuted"]
    for path in dict.fromkeys(file.parent.parent / CERTIFIED for file in entry.files):
        if not path.is_file():
            continue
        table = read_table(path, columns=["run", "protocol"], numbers=numbers)
        rows = table[(table["run"] == entry.run) & (table["protocol"] == settings.label)]
        if len(rows):
            shares = entry.certain
            curve = {} if shares is None else {"shares": shares.round(4).tolist()}
            return {**dict(zip(numbers, map(float, rows[numbers].iloc[-1]), strict=True)), **curve}
    return None


def histories_of(folders: Sequence[Path]) -> dict[str, Path]:
    """The histories of training below folders of runs, by the SHA-256 of the weights that came of it.

    Raises:
        BadInput: a run's card cannot be read.
    """
    found = {}
    for folder in folders:
        for place in entries(folder):
            card, history = place / "card.json", place / "history.csv"
            if card.is_file() and history.is_file():
                found[_weights_in(card)] = history
    return {digest: history for digest, history in found.items() if digest}


def usual_runs() -> list[Path]:
    """Where runs lie unless told otherwise: `runs` here, and the released ones."""
    return [Path("runs"), released_zoo() / "runs", released_zoo() / "mnist"]


def history_in(path: Path) -> pd.DataFrame:
    """A row per epoch.

    Raises:
        BadInput: the file is no table of numbers.
    """
    return read_table(path, columns=["epoch"], numbers=None)


def _weights_in(card: Path) -> str:
    try:
        content = json.loads(card.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"card {str(card)!r} cannot be read: {one_line(str(error))}") from error
    digest = content.get("weights_sha256") if isinstance(content, dict) else None
    return digest if isinstance(digest, str) else ""
