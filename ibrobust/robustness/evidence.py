"""Adversarial images: for each broken sample the one that proves its breaking radius, kept while attacks run and
stored beside the results.

A file of evidence is Parquet: nothing in it is executed, pandas, Arrow, DuckDB and others read it, columns have names,
and a float32 survives to the bit. A perturbation of signs compresses to a tenth, any other one to three fifths.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ibrobust.errors import BadInput
from ibrobust.files import written_whole
from ibrobust.robustness.card import ResultCard, card_text
from ibrobust.robustness.evidence_files import ANSWERS, CLEAN, COLUMNS, StoredEvidence, evidence_path, read_evidence
from ibrobust.types import Images, Labels, Logits

__all__ = ["ANSWERS", "CLEAN", "COLUMNS", "evidence_path"]

Kept = Literal["none", "best", "each"]
"""No images; of each sample the one at its smallest breaking radius; or one for each attack that broke it."""

Answers = Callable[[Int[Tensor, " some"], Images], Logits]
"""Rows of a block and images in their place → the model's logits."""

_ALL = "all attacks"
_UNCHANGED = -1


@dataclass(frozen=True)
class Evidence:
    """Adversarial images and what each of them proves.

    Attributes:
        rows: a row per image: `sample` (its id), `label`, `attack` (`clean` where the unchanged image is misclassified)
            and `radius` (float32: the smallest radius of the grid at which the attack broke it; 0 for `clean`), and
            what the model answered: `prediction`, the class of the image, with its `probability`, and the label's
            probability on the image and on the original (`label_probability`, `original_probability`); files of
            earlier versions lack these four. Sorted by sample, then by radius.
        originals: the unchanged images, (rows, C, H, W) float32 in [0, 1].
        images: the adversarial ones, exactly as they were scored.
    """

    rows: pd.DataFrame
    originals: Float[Tensor, "rows channels height width"]
    images: Float[Tensor, "rows channels height width"]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Block:
    """Samples that are attacked together, and the grid of radii that they are attacked at."""

    x: Images
    y: Labels
    ids: Int[Tensor, " block"]
    radii: Float[Tensor, " radii"]


@dataclass
class _Slot:
    """For each sample of a block the nearest image so far: which attack made it, and at which radius of the grid."""

    images: Images
    attack: Int[Tensor, " block"]
    index: Int[Tensor, " block"]


class Recorder:
    """Keeps the images of one block while its attacks run.

    Args:
        kept: which images; `none` keeps nothing and costs nothing.
        attacks: the attacks' names, in order: of two at the same radius the first one's image is kept.
    """

    def __init__(self, kept: Kept, block: Block, attacks: Sequence[str]) -> None:
        self._kept, self._block, self._names = kept, block, [CLEAN, *attacks]
        self._slots: dict[str, _Slot] = {}

    def note_unchanged(self, rows: Int[Tensor, " some"]) -> None:
        """The images of these rows of the block are misclassified as they are."""
        self._keep(CLEAN, rows, torch.full_like(rows, _UNCHANGED), self._block.x[rows])

    def note(
        self,
        attack: str,
        among: Int[Tensor, " attacked"],
        chosen: Int[Tensor, " some"],
        index: Int[Tensor, " some"],
        x_adv: Images,
    ) -> None:
        """Keep the images with which an attack broke samples, wherever none at as small a radius is kept.

        Args:
            among: the rows of the block that the attack was shown.
            chosen: which of those it broke.
            index: the radius of each, as an index into the grid; beyond its end is not broken.
        """
        if self._kept != "none":
            self._keep(attack, among[chosen], index, x_adv)

    def evidence(self, logits_of: Answers) -> Evidence | None:
        """What was kept and what the model answers to it, on the CPU; None where nothing was to be."""
        if self._kept == "none":
            return None
        block = self._block
        radii = torch.cat([block.radii, block.radii.new_zeros(1)])  # The index of an unchanged image is the last.
        parts = [Evidence(_no_rows(), block.x[:0].cpu(), block.x[:0].cpu())]
        for slot in self._slots.values():
            found = (slot.index < len(block.radii)).nonzero().squeeze(1)
            if not len(found):  # Shown to an attack, and not broken by it.
                continue
            columns = (block.ids[found], block.y[found], slot.attack[found], radii[slot.index[found]])
            rows = pd.DataFrame(dict(zip(COLUMNS, (column.cpu().numpy() for column in columns), strict=True)))
            rows["attack"] = rows["attack"].map(dict(enumerate(self._names))).astype(object)
            answers = _answers(logits_of(found, slot.images[found]), logits_of(found, block.x[found]), block.y[found])
            rows = rows.assign(**{name: column.cpu().numpy() for name, column in answers.items()})
            parts.append(Evidence(rows, block.x[found].cpu(), slot.images[found].cpu()))
        return joined_evidence(parts)

    def _keep(self, attack: str, rows: Int[Tensor, " some"], index: Int[Tensor, " some"], x_adv: Images) -> None:
        if self._kept == "none" or not len(rows):
            return
        name = attack if self._kept == "each" else _ALL
        if name not in self._slots:
            far = torch.full_like(self._block.ids, len(self._block.radii))
            self._slots[name] = _Slot(torch.zeros_like(self._block.x), torch.zeros_like(far), far)
        slot = self._slots[name]
        nearer = index < slot.index[rows]
        slot.images[rows[nearer]] = x_adv[nearer]
        slot.attack[rows[nearer]] = self._names.index(attack)
        slot.index[rows[nearer]] = index[nearer]


def kept_of(keep_images: bool | str) -> Kept:
    """What `keep_images` of a Python call, or of a command, asks for.

    Raises:
        BadInput: it is none of True, False, best and each.
    """
    found: dict[bool | str, Kept] = {False: "none", True: "best", "none": "none", "best": "best", "each": "each"}
    if not isinstance(keep_images, bool | str) or keep_images not in found:
        raise BadInput(f"keep_images {keep_images!r}: choose from True, False, best, each")
    return found[keep_images]


def joined_evidence(parts: Sequence[Evidence]) -> Evidence:
    """Evidence about several blocks as one, sorted by sample, radius and attack."""
    parts = [part for part in parts if len(part)] or [*parts[:1]]
    rows = pd.concat([part.rows for part in parts], ignore_index=True)
    order = rows.sort_values(["sample", "radius", "attack"], kind="stable").index
    at = torch.from_numpy(order.to_numpy().copy())
    images = torch.cat([part.images for part in parts])[at]
    originals = torch.cat([part.originals for part in parts])[at]
    return Evidence(rows.loc[order].reset_index(drop=True), originals, images)


def save_evidence(evidence: Evidence, card: ResultCard, path: Path) -> None:
    """One Parquet file: the rows, `original` and `image` as lists of floats, the results' card and the images' shape in
    the metadata; a reader never sees half of it."""
    columns = {
        **{name: pa.array(evidence.rows[name]) for name in (*COLUMNS, *ANSWERS) if name in evidence.rows},
        "original": _as_lists(evidence.originals),
        "image": _as_lists(evidence.images),
    }
    about = {b"ibrobust": card_text(card).encode(), b"shape": str(tuple(evidence.images.shape[1:])).encode()}
    table = pa.table(columns).replace_schema_metadata(about)
    # Originals have 256 values or so, which a dictionary makes small; images do not.
    dictionary = [*COLUMNS, "original.list.element"]
    with written_whole(path) as unfinished:
        pq.write_table(
            table,
            unfinished,
            compression="zstd",
            compression_level=12,
            use_dictionary=dictionary,
            use_byte_stream_split=["image.list.element"],
        )


def load_evidence(path: Path) -> tuple[Evidence, ResultCard]:
    """The evidence in a file, and the card of the results that it is about.

    Raises:
        BadInput: the file is not a whole file of evidence; names the file and the field.
    """
    found = read_evidence(path)
    return evidence_of(found), found.card


def evidence_of(stored: StoredEvidence) -> Evidence:
    """What a file holds, with its images as tensors."""
    return Evidence(stored.rows, torch.from_numpy(stored.originals), torch.from_numpy(stored.images))


def _answers(changed: Logits, unchanged: Logits, labels: Labels) -> dict[str, Tensor]:
    """The columns `ANSWERS` from the logits of the kept images and of the originals."""
    probabilities, originally = changed.double().softmax(1), unchanged.double().softmax(1)
    of_label = (probabilities.gather(1, labels[:, None]), originally.gather(1, labels[:, None]))
    largest = [changed.argmax(1), probabilities.amax(1).float()]
    return dict(zip(ANSWERS, [*largest, *(column.squeeze(1).float() for column in of_label)], strict=True))


def _no_rows() -> pd.DataFrame:
    types = {"sample": "int64", "label": "int64", "attack": "object", "radius": "float32"}
    types |= dict.fromkeys(ANSWERS, "float32") | {ANSWERS[0]: "int64"}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in types.items()})


def _as_lists(images: Tensor) -> pa.Array:
    flat = images.contiguous().flatten(1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.flatten().numpy()), flat.shape[1])
