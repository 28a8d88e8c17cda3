"""The queries before the first attack: does the model answer, and what does it say of the images themselves?"""

from collections.abc import Iterator
from contextlib import contextmanager

from jaxtyping import Int
from torch import Tensor

from ibrobust.attacks import Victim, victim
from ibrobust.attacks.contract import check_finite, named
from ibrobust.attacks.filling import ROWS
from ibrobust.attacks.losses import cross_entropy
from ibrobust.errors import BadInput, RunFailed
from ibrobust.models.bottleneck import View
from ibrobust.randomness import sample_draw
from ibrobust.types import Images, Labels, Logits


def clean_pass(
    seen: Victim, x: Images, y: Labels, ids: Int[Tensor, " batch"], *, gradient: bool = True
) -> tuple[Logits, Images | None]:
    """Logits of the images themselves, and the gradients of their cross-entropy; None where none is asked for.

    Raises:
        BadInput: the model raised, or the logits of some samples are not finite.
    """
    slope: Images | None = None
    with models_fault(f"the model raised on samples {named(ids)}"):
        if gradient:
            logits, slope = seen.loss_gradient(x, y, cross_entropy)
        else:
            logits = seen.logits(x)
    check_finite(logits, ids)
    return logits, slope


def check_model(seen: View, x: Images, y: Int[Tensor, " samples"], *, gradient: bool) -> int:
    """One image, before any count begins: does the model answer, with logits, for these labels, and where one will be
    asked for with a gradient? How many classes it knows is given back."""
    one, images = victim(seen, sample_draw(0, y[:1]), batch_size=1), f"{ROWS} images of shape {tuple(x.shape[1:])}"
    with models_fault(f"the model raised on {images}"):
        classes = one.logits(x).shape[1]
    if y.min() < 0 or y.max() >= classes:
        raise BadInput(f"y holds labels from {int(y.min())} to {int(y.max())}; the model has {classes} classes")
    if gradient:
        with models_fault(f"the model raised when its gradient was asked for on {images}"):
            one.loss_gradient(x, y[:1], cross_entropy)
    return classes


@contextmanager
def models_fault(message: str) -> Iterator[None]:
    """What is raised inside is the model's fault, in one line.

    Raises:
        BadInput: with the message and what was raised.
    """
    try:
        yield
    except (BadInput, RunFailed):
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadInput(f"{message}: {reason}") from error
