"""Adversarial images as the page shows them: the original, the change, and what the model was fooled by."""

import base64
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from ibrobust.page.entries import Entry
from ibrobust.robustness.card import ResultCard
from ibrobust.robustness.evidence_files import ANSWERS, CLEAN, evidence_path, read_evidence, read_evidence_rows
from ibrobust.robustness.results import BreakingRadii

Pixels = NDArray[np.float32]


def chosen_samples(group: Sequence[Entry], count: int) -> list[int]:
    """The samples whose pictures are shown for results that can be compared: half of them are broken in most results,
    so that one sample is seen through many models, the others in about half of them, so that they tell models apart."""
    seen: Counter[int] = Counter()
    kept = [tables for entry in group if (tables := _proven_rows(entry))]
    for rows in (rows for tables in kept for rows in tables):
        seen.update(set(rows.loc[rows["attack"] != CLEAN, "sample"]))
    often = sorted(seen, key=lambda sample: (-seen[sample], sample))[: -(-count // 2)]
    others = sorted(seen.keys() - set(often), key=lambda sample: (abs(2 * seen[sample] - len(kept)), sample))
    return sorted([*often, *others[: count - len(often)]])


def pictures_of(entry: Entry, samples: Sequence[int]) -> list[dict[str, Any]]:
    """For each of the samples that this result has evidence of, its picture at the smallest radius: three PNGs as
    `data:` addresses, and what they prove."""
    found = []
    for file in _files_with_images(entry):
        stored = read_evidence(evidence_path(file))
        if not _same_claim(stored.card, entry):
            continue
        rows = _proven(stored.rows, entry).drop_duplicates("sample")
        for at in rows.index[rows["sample"].isin(samples)]:
            row = rows.loc[at]
            found.append(_about(row) | _drawn(stored.originals[at], stored.images[at]))
    return sorted(found, key=lambda picture: picture["sample"])


def _about(row: "pd.Series[Any]") -> dict[str, Any]:
    about = {
        "sample": int(row["sample"]),
        "label": int(row["label"]),
        "attack": str(row["attack"]),
        "radius": float(f"{row['radius']:g}"),
    }
    if ANSWERS[0] in row:
        about["prediction"] = int(row["prediction"])
        about |= {name: round(float(row[name]), 4) for name in ANSWERS[1:]}
    return about


def _drawn(original: Pixels, image: Pixels) -> dict[str, Any]:
    """The three pictures. The change is shown around a middle grey, its largest value as black or white; `scale` says
    by how much it was multiplied for that (0 where nothing changed)."""
    change = image.astype(np.float64) - original
    largest = float(np.abs(change).max())
    grey = 0.5 + change / (2 * largest) if largest else np.full_like(change, 0.5)
    pictures = [_png(pixels) for pixels in (original, grey, image)]
    scale = round(0.5 / largest, 2) if largest else 0
    return {"pictures": pictures, "scale": scale, "largest": float(f"{largest:.3g}"), "size": list(image.shape)}


def _png(pixels: NDArray[Any]) -> str:
    """(C, H, W) in [0, 1] as a PNG in a `data:` address; of another number of channels than three the first."""
    rounded = np.clip(np.round(pixels * 255), 0, 255).astype(np.uint8)
    shown = rounded.transpose(1, 2, 0) if len(rounded) == 3 else rounded[0]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(shown)).save(file, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _files_with_images(entry: Entry) -> list[Path]:
    return [file for file in entry.files if evidence_path(file).is_file()]


def _proven_rows(entry: Entry) -> list[pd.DataFrame]:
    """The rows of the evidence that belongs to a result, a table per file."""
    read = [read_evidence_rows(evidence_path(file)) for file in _files_with_images(entry)]
    return [_proven(rows, entry) for rows, card in read if _same_claim(card, entry)]


def _proven(rows: pd.DataFrame, entry: Entry) -> pd.DataFrame:
    """The rows that prove what the files say: sample, label and radius are their own."""
    results = entry.stored
    if not isinstance(results, BreakingRadii):
        return rows.iloc[:0]
    said = pd.Series(results.all_attacks_N, index=results.rows["sample"])
    labels = pd.Series(results.rows["label"].to_numpy(), index=results.rows["sample"])
    same = said.reindex(rows["sample"]).to_numpy() == rows["radius"].to_numpy(np.float32)
    proven: pd.DataFrame = rows[same & (labels.reindex(rows["sample"]).to_numpy() == rows["label"].to_numpy())]
    return proven


def _same_claim(card: ResultCard, entry: Entry) -> bool:
    """Whether evidence is about this result's model, data and settings."""
    ours = entry.stored.card
    models = [(one.model.weights_sha256, one.model.code_sha256) if one.model else None for one in (card, ours)]
    return models[0] == models[1] and card.data == ours.data and card.settings == ours.settings
