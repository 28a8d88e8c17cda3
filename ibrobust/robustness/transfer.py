"""Images that are made on one model and scored on another."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor, nn

from ibrobust.attacks import Norm
from ibrobust.attacks.norms import wide
from ibrobust.errors import BadInput
from ibrobust.files import as_name
from ibrobust.models.answers import Classifier, as_module
from ibrobust.models.bottleneck import View, attacked_view
from ibrobust.robustness.first_queries import check_model
from ibrobust.robustness.work import Work
from ibrobust.types import Images, PerSample

LEAD = 20.0
"""Nats by which a mistake has to lead on the model that images are made on before an attack stops there: one that is
just a mistake on one model is none on another."""


@dataclass(frozen=True)
class Source:
    """The model that attacks see, and the view of it."""

    model: nn.Module
    seen: View

    @classmethod
    def of(cls, model: Classifier, device: torch.device) -> "Source":
        module = as_module(model, "transfer_from is").to(device)
        return cls(module, attacked_view(module, "mean"))

    def watched(self, work: Work) -> "Source":
        """The same, each of whose passes is counted."""
        return replace(self, seen=work.watched(self.seen))

    def check(self, x: Images, y: Int[Tensor, " samples"], classes: int, gradient: bool) -> None:
        """Ask about one image.

        Raises:
            BadInput: it does not answer, or with another number of classes than the model that is scored.
        """
        try:
            theirs = check_model(self.seen, x, y, gradient=gradient)
        except BadInput as error:
            raise BadInput(f"transfer_from: {error}") from error
        if theirs != classes:
            raise BadInput(
                f"transfer_from: it answers with {theirs} classes, and the model that is scored with {classes}"
            )


def settings_of_source(model: Classifier | None, search: str) -> dict[str, str]:
    """What settings say of images of this model: its name, and that every radius is tried."""
    if model is None:
        return {}
    name = as_name(getattr(model, "__name__", type(model).__name__))
    return {"transfer_from": name, "search": "exhaustive" if search == "bisect" else search}


def as_far_as(eps: PerSample, found: Images, x: Images, norm: Norm) -> Images:
    """Changes that an attack without a radius made, each shortened or stretched to a radius, cut with [0, 1]."""
    reached = norm.distance(found, x).clamp(min=1e-12)
    return norm.project(x + wide((eps / reached).to(x.dtype)) * (found - x), x, eps)
