"""Breaking radii: every attack of a protocol against every sample, each answer checked outside the attack."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from ibrobust.attacks import ATTACKS, NORMS, PROTOCOLS, Attack, Norm, victim
from ibrobust.attacks.contract import BALL_TOLERANCE, Samples, breaking_distance, broken_at, check_finite
from ibrobust.attacks.losses import cross_entropy
from ibrobust.bottleneck import View, view
from ibrobust.errors import BadInput, RunFailed
from ibrobust.images import as_images, channels_last, frozen
from ibrobust.radii import parse_radii
from ibrobust.randomness import sample_draw
from ibrobust.results import BreakingRadii
from ibrobust.search import SEARCHES, Search
from ibrobust.types import Images, Labels

_BLOCK_PIXELS = 2**22
"""Pixels attacked at a time: 5000 digits of 28 × 28, 1300 CIFAR images. Memory does not grow with the data."""

COLUMNS = ("own", "standing")
"""Whether a column is one attack's own answer, or that of all attacks up to it."""

Progress = Callable[[str, int], None]
"""Told (attack, samples done) as the work goes on."""

Accounts = dict[str, dict[str, int]]
"""Forward and gradient evaluations by attack, and of the clean images, summed over samples."""


def breaking_radii(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: str | Sequence[float] = "0:0.1",
    protocol: str = "paper",
    attacks: Mapping[str, Attack] | None = None,
    norm: str = "linf",
    noise: str = "mean",
    search: str = "bisect",
    columns: str = "own",
    seed: int = 0,
    ids: Tensor | None = None,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    progress: Progress = lambda _attack, _done: None,
) -> BreakingRadii:
    """For each attack of the protocol and each sample, the smallest radius that broke it.

    Args:
        model: images in [0, 1], (B, C, H, W) float32, to logits (B, classes); normalises inside.
        x, y: the samples, float in [0, 1] or uint8, and their labels.
        eps: radii as `0:0.1`, `0:0.1:21`, `2/255,0.05`, or numbers.
        attacks: by name, instead of the protocol's: your own, or some of them.
        protocol, norm, search: names from `PROTOCOLS`, `NORMS`, `SEARCHES`.
        columns: `own` gives each attack's own answer; `standing` asks an attack only below the radius at which those
            before it broke a sample, so that a column holds the answer of all attacks so far. The all-attack curve
            is the same but for samples that are not monotone; the work is less.
        noise: what the attacks see of a model with latent noise: `mean`, `fresh` or `averaged:n`.
        ids: the samples' numbers, which their random numbers depend on; 0, 1, … by default.
        batch_size: samples per pass through the model; changes speed and memory, not the result.
        device: where the model runs; where its parameters are by default.

    Raises:
        BadInput: an argument cannot be used, or the model's answer has the wrong shape or is not finite.
        RunFailed: an attack raised or returned an invalid image; names the attack and the samples.
    """
    radii = parse_radii(eps)
    ids = torch.arange(len(x)) if ids is None else ids
    _check_samples(x, y, ids)
    place = _device(device, model, x)
    batch_size = _default_batch_size(x, place) if batch_size is None else batch_size
    if columns not in COLUMNS:
        raise BadInput(f"no columns {columns!r}; choose from {', '.join(COLUMNS)}")
    if batch_size < 1:
        raise BadInput(f"batch_size {batch_size} is not 1 or more")
    attacks = attacks or {name: ATTACKS[name] for name in PROTOCOLS[protocol]}
    evaluation = _Evaluation(
        attacks,
        NORMS[norm],
        torch.tensor([radius for radius in radii if radius > 0], dtype=torch.float32, device=place),
        SEARCHES[search],
        columns,
        view(model, noise),
        seed,
        batch_size,
        progress,
    )
    block_size = max(batch_size, _BLOCK_PIXELS // x[0].numel())
    with frozen(model), channels_last(model):
        _check_model(evaluation.view, as_images(x[:1].to(place)), y.to(place))
        blocks = [
            evaluation.rows(as_images(x[rows].to(place)), y[rows].to(place), ids[rows].to(place))
            for rows in (slice(start, start + block_size) for start in range(0, len(x), block_size))
        ]
    card = {
        "protocol": protocol,
        "norm": norm,
        "radii": radii,
        "noise": noise,
        "search": search,
        "columns": columns,
        "seed": seed,
        "attacks": {name: attack.settings for name, attack in attacks.items()},
        "queries": _summed([accounts for _, accounts in blocks]),
    }
    return BreakingRadii(pd.concat([rows for rows, _ in blocks], ignore_index=True), card)


@dataclass(frozen=True)
class _Evaluation:
    """One protocol against one view of one model."""

    attacks: Mapping[str, Attack]
    norm: Norm
    radii: Tensor
    search: Search
    columns: str
    view: View
    seed: int
    batch_size: int
    progress: Progress

    def rows(self, x: Images, y: Labels, ids: Int[Tensor, " batch"]) -> tuple[pd.DataFrame, Accounts]:
        """Rows of the table, and what each attack asked."""
        draw = sample_draw(self.seed, ids)
        asked = victim(self.view, draw.fold("clean"), batch_size=self.batch_size)
        logits, gradient = asked.loss_gradient(x, y, cross_entropy)
        check_finite(logits, ids)
        correct = (logits.argmax(1) == y).nonzero().squeeze(1)
        columns, accounts = {}, {"clean": asdict(asked.queries)}
        best = torch.full((len(correct),), len(self.radii), device=x.device)
        for name, attack in self.attacks.items():
            stream = draw[correct].fold(name)
            clean = logits[correct], gradient[correct]
            attacked = victim(self.view, stream, batch_size=self.batch_size, clean=clean)
            samples = Samples(attacked, x[correct], y[correct], ids[correct], stream)
            index = self._smallest_index(name, attack, samples, best)
            best = torch.minimum(best, index)
            column = torch.zeros(len(x), device=x.device)
            column[correct] = torch.cat([self.radii, self.radii.new_tensor([torch.inf])])[index]
            columns[name] = column.cpu().numpy()
            accounts[name] = asdict(attacked.queries)
            self.progress(name, len(x))
        zero_gradient = (gradient.flatten(1) == 0).all(1)
        about = {"sample": ids, "label": y, "prediction": logits.argmax(1), "zero_gradient": zero_gradient}
        return pd.DataFrame({name: values.cpu().numpy() for name, values in about.items()} | columns), accounts

    def _smallest_index(self, name: str, attack: Attack, samples: Samples, best: Tensor) -> Tensor:
        """Of the first radius that breaks; `best` is what all attacks before this one needed."""
        if not len(samples):
            return best
        limit = best if self.columns == "standing" else torch.full_like(best, len(self.radii))
        if attack.minimal:
            distance = breaking_distance(name, attack, samples, self.norm)
            return torch.searchsorted(self.radii + BALL_TOLERANCE, distance).minimum(limit)

        def breaks_at(chosen: Tensor, radius_index: Tensor) -> Bool[Tensor, " batch"]:
            if not len(chosen):
                return torch.zeros(0, dtype=torch.bool, device=chosen.device)
            return broken_at(name, attack, samples[chosen], self.radii[radius_index], self.norm)

        return self.search(breaks_at, limit, best)


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


def _summed(accounts: Sequence[Accounts]) -> Accounts:
    return {
        name: {kind: sum(account[name][kind] for account in accounts) for kind in ("forward", "gradient")}
        for name in accounts[0]
    }


def _check_samples(x: Tensor, y: Tensor, ids: Tensor) -> None:
    if x.ndim != 4 or len(x) == 0:
        raise BadInput(f"x has shape {tuple(x.shape)}; it is (samples, channels, height, width), one sample or more")
    if y.shape != (len(x),) or ids.shape != (len(x),):
        raise BadInput(f"x holds {len(x)} samples, y has shape {tuple(y.shape)} and ids {tuple(ids.shape)}")
    if len(torch.unique(ids)) != len(ids):
        raise BadInput("ids name a sample twice; each sample's random numbers depend on its own")
    if x.dtype != torch.uint8 and not bool(((x >= 0) & (x <= 1)).all()):
        raise BadInput("x holds pixels outside [0, 1] or NaN; scale them, and let the model normalise inside")


def _device(name: str | torch.device | None, model: nn.Module, x: Tensor) -> torch.device:
    if name is None:
        return next((parameter.device for parameter in model.parameters()), x.device)
    try:
        return torch.device(name)
    except RuntimeError:
        raise BadInput(f"no device {name!r}; choose from cpu, cuda, cuda:N, mps") from None


def _default_batch_size(x: Tensor, device: torch.device) -> int:
    # On a CPU: large enough to hide the calls, small enough for the cache. 128 digits of 28 × 28, 32 CIFAR images.
    return 1024 if device.type == "cuda" else int(np.clip(10**5 // x[0].numel(), 16, 1024))
