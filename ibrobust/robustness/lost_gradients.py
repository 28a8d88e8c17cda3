"""Samples on which a gradient was NaN or infinite: no attack with gradients can be believed there."""

import warnings
from collections.abc import Mapping

import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ibrobust.attacks import ATTACKS, Attack
from ibrobust.attacks.contract import named
from ibrobust.errors import ModelWarning
from ibrobust.robustness.card import SUBSTITUTE
from ibrobust.robustness.results import NAN_GRADIENT
from ibrobust.types import Images, Labels, Logits


def substitute(attacks: Mapping[str, Attack]) -> Attack:
    """As it is set in these attacks, where it is one of them."""
    return attacks[SUBSTITUTE] if SUBSTITUTE in attacks else ATTACKS[SUBSTITUTE]


def with_gradients(attacks: Mapping[str, Attack]) -> list[str]:
    """The names of those that climb gradients."""
    return [name for name, attack in attacks.items() if not attack.black_box]


def about_samples(
    ids: Int[Tensor, " batch"],
    y: Labels,
    logits: Logits,
    gradient: Images | None,
    lost: Bool[Tensor, " batch"],
) -> dict[str, Tensor]:
    """The columns that say of each sample which it is and what its gradients are worth; of none that was asked for
    nothing is said."""
    zero = torch.zeros_like(lost) if gradient is None else (gradient.flatten(1) == 0).all(1) & ~lost
    about = {"sample": ids, "label": y, "prediction": logits.argmax(1)}
    return about | {"zero_gradient": zero, NAN_GRADIENT: lost}


def warned_of_lost(rows: pd.DataFrame) -> list[str]:
    """What `sentences_about_lost` says, told as a `ModelWarning`, too."""
    texts = sentences_about_lost(rows)
    for text in texts:
        warnings.warn(text, ModelWarning, stacklevel=5)
    return texts


def sentences_about_lost(rows: pd.DataFrame) -> list[str]:
    """One sentence that names the samples whose gradients were lost; nothing where there are none."""
    lost = rows.loc[rows[NAN_GRADIENT], "sample"].unique() if NAN_GRADIENT in rows else []
    if not len(lost):
        return []
    return [
        f"gradients are NaN or infinite on {len(lost)} of {rows['sample'].nunique()} samples, "
        f"{named(torch.tensor(lost))}: there each attack with gradients is taken to break what {SUBSTITUTE}, which "
        "needs none, breaks"
    ]
