"""What is asked of a model, checked before the first attack: samples, radii, attacks, norm, noise, batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from ibrobust.attacks import NORMS, Attack, Norm, victim
from ibrobust.attacks.norms import norm_name
from ibrobust.attacks.protocols import Chosen, chosen_attacks, protocol_name
from ibrobust.cpu.allocator import keep_freed_memory
from ibrobust.cpu.fusion import fused
from ibrobust.errors import BadInput, RunFailed
from ibrobust.images import as_images, channels_last, frozen
from ibrobust.models.bottleneck import View, attacked_view
from ibrobust.randomness import sample_draw
from ibrobust.robustness.radii import Radii, parse_radii
from ibrobust.robustness.samples import Arrays, usable_samples
from ibrobust.types import Images, Labels

_BLOCK_PIXELS = 2**22
"""Pixels attacked at a time: 5000 digits of 28 × 28, 1300 CIFAR images. Memory does not grow with the data."""

Block = tuple[Images, Labels, Int[Tensor, " batch"]]
"""Images, labels and ids of the samples that are attacked together."""

Progress = Callable[[str, int], None]
"""Told (attack, samples done) as the work goes on."""

Accounts = dict[str, dict[str, int]]
"""Forward and gradient evaluations by attack, and of the clean images, summed over samples."""


@dataclass(frozen=True)
class Question:
    """Samples, and how they are attacked; all of it usable.

    Attributes:
        radii: with 0 where it was asked for; `positive_E` are the others.
        seen: the model as attacks see it.
    """

    model: nn.Module
    x: Tensor
    y: Tensor
    ids: Tensor
    radii: list[float]
    protocol: str
    attacks: Mapping[str, Attack]
    norm: Norm
    noise: str
    seen: View
    seed: int
    batch_size: int
    device: torch.device

    @property
    def positive_E(self) -> Tensor:
        radii = [radius for radius in self.radii if radius > 0]
        return torch.tensor(radii, dtype=torch.float32, device=self.device)

    @contextmanager
    def blocks(self) -> Iterator[Iterator[Block]]:
        """The samples in blocks that fit in memory, the model frozen meanwhile; its first answer is checked before."""
        size = max(self.batch_size, _BLOCK_PIXELS // self.x[0].numel())
        first = as_images(self.x[:1].to(self.device))
        keep_freed_memory()
        with frozen(self.model), channels_last(self.model), fused(self.model, first):
            _check_model(self.seen, first, self.y.to(self.device))
            yield (
                (
                    as_images(self.x[rows].to(self.device)),
                    self.y[rows].to(self.device),
                    self.ids[rows].to(self.device),
                )
                for rows in (slice(start, start + size) for start in range(0, len(self.x), size))
            )

    def card(self) -> dict[str, Any]:
        """The question in words, for the results' card."""
        return {
            "protocol": self.protocol,
            "norm": self.norm.name,
            "radii": self.radii,
            "noise": self.noise,
            "seed": self.seed,
            "attacks": {name: attack.settings for name, attack in self.attacks.items()},
        }


def question(
    model: nn.Module,
    x: Arrays,
    y: Arrays,
    *,
    eps: Radii,
    protocol: str,
    attacks: Chosen,
    norm: str | int | float,
    noise: str,
    seed: int,
    ids: Arrays | None,
    batch_size: int | None,
    device: str | torch.device | None,
) -> Question:
    """Names looked up, defaults filled in.

    Raises:
        BadInput: an argument cannot be used.
    """
    radii = parse_radii(eps)
    protocol = protocol_name(protocol)
    x, y, ids = usable_samples(x, y, ids)
    place = _device(device, model, x)
    batch_size = _default_batch_size(x, place) if batch_size is None else batch_size
    if batch_size < 1:
        raise BadInput(f"batch_size {batch_size} is not 1 or more")
    named = (protocol, chosen_attacks(attacks, protocol), NORMS[norm_name(norm)])
    return Question(model, x, y, ids, radii, *named, noise, attacked_view(model, noise), seed, batch_size, place)


def summed(accounts: Sequence[Accounts]) -> Accounts:
    """The account of several blocks."""
    return {
        name: {kind: sum(account[name][kind] for account in accounts) for kind in ("forward", "gradient")}
        for name in accounts[0]
    }


def filled(accounts: Sequence[Accounts]) -> dict[str, int]:
    """Passes by attack of rows that only filled batches up. They depend on the machine and on the size of the batches,
    so that no card holds them."""
    return {name: sum(account[name]["filled"] for account in accounts) for name in accounts[0]}


def _check_model(seen: View, x: Images, y: Int[Tensor, " samples"]) -> None:
    """One image, before any count begins: does the model answer, with logits, for these labels?"""
    try:
        classes = victim(seen, sample_draw(0, y[:1]), batch_size=1).logits(x).shape[1]
    except (BadInput, RunFailed):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"the model raised on an image of shape {tuple(x.shape[1:])}: {reason}") from error
    if y.min() < 0 or y.max() >= classes:
        raise BadInput(f"y holds labels from {int(y.min())} to {int(y.max())}; the model has {classes} classes")


def _device(name: str | torch.device | None, model: nn.Module, x: Tensor) -> torch.device:
    if name is None:
        return next((parameter.device for parameter in model.parameters()), x.device)
    try:
        return torch.device(name)
    except RuntimeError:
        raise BadInput(f"no device {name!r}; choose from cpu, cuda, cuda:N, mps") from None


def _default_batch_size(x: Tensor, device: torch.device) -> int:
    # On a CPU: large enough to hide the calls, small enough for the cache. 512 digits of 28 × 28, 130 CIFAR images.
    return 1024 if device.type == "cuda" else int(np.clip(400_000 // x[0].numel(), 16, 1024))
