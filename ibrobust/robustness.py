"""Breaking radii: every attack of a protocol against every sample, each answer checked outside the attack."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from ibrobust.attacks import ATTACKS, NORMS, PROTOCOLS, Attack, Norm, Victim, victim
from ibrobust.attacks.losses import cross_entropy
from ibrobust.bottleneck import View, view
from ibrobust.errors import BadInput, RunFailed
from ibrobust.images import as_images, frozen
from ibrobust.radii import parse_radii
from ibrobust.randomness import sample_draw
from ibrobust.results import BreakingRadii
from ibrobust.search import SEARCHES
from ibrobust.types import Images, Labels

BALL_TOLERANCE = 1e-6
_BLOCK_PIXELS = 2**22
"""Pixels attacked at a time: 5000 digits of 28 × 28, 1300 CIFAR images. Memory does not grow with the data."""

Progress = Callable[[str, int], None]
"""Told (attack, samples done) as the work goes on."""


@dataclass(frozen=True)
class _Block:
    """Samples that are attacked together."""

    victim: Victim
    x: Images
    y: Labels
    ids: Int[Tensor, " batch"]

    def __getitem__(self, kept: Tensor) -> "_Block":
        return _Block(self.victim[kept], self.x[kept], self.y[kept], self.ids[kept])


def breaking_radii(
    model: nn.Module,
    x: Images,
    y: Labels,
    *,
    eps: str | Sequence[float] = "0:0.1",
    protocol: str = "paper",
    attacks: Mapping[str, Attack] | None = None,
    norm: str = "linf",
    noise: str = "mean",
    search: str = "bisect",
    seed: int = 0,
    ids: Int[Tensor, " batch"] | None = None,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    progress: Progress = lambda attack, done: None,
) -> BreakingRadii:
    """For each attack of the protocol and each sample, the smallest radius that broke it.

    Args:
        model: images in [0, 1], (B, C, H, W) float32, to logits (B, classes); normalises inside.
        x, y: the samples, float in [0, 1] or uint8, and their labels.
        eps: radii as `0:0.1`, `0:0.1:21`, `2/255,0.05`, or numbers.
        attacks: by name, instead of the protocol's: your own, or some of them.
        protocol, norm, search: names from `PROTOCOLS`, `NORMS`, `SEARCHES`.
        noise: what the attacks see of a model with latent noise: `mean`, `fresh` or `averaged:n`.
        ids: the samples' numbers, which their random numbers depend on; 0, 1, … by default.
        batch_size: samples per pass through the model; changes speed and memory, not the result.
        device: where the model runs; where its parameters are by default.

    Raises:
        BadInput: an argument cannot be used, or the model's answer has the wrong shape or is not finite.
        RunFailed: an attack raised or returned an invalid image; names the attack and the samples.
    """
    radii = parse_radii(eps)
    positive_radii = torch.tensor([radius for radius in radii if radius > 0], dtype=torch.float32)
    ids = torch.arange(len(x)) if ids is None else ids
    device = torch.device(device) if device else next((p.device for p in model.parameters()), x.device)
    attacks = attacks or {name: ATTACKS[name] for name in PROTOCOLS[protocol]}
    evaluation = _Evaluation(
        attacks, NORMS[norm], positive_radii.to(device), SEARCHES[search], view(model, noise), seed, progress
    )
    _check_samples(x, y, ids)
    batch_size = batch_size or _default_batch_size(x, device)
    block_size = max(batch_size, _BLOCK_PIXELS // x[0].numel())
    with frozen(model):
        blocks = [
            evaluation.block(as_images(x[rows]).to(device), y[rows].to(device), ids[rows].to(device), batch_size)
            for rows in (slice(start, start + block_size) for start in range(0, len(x), block_size))
        ]
    queries = {
        attack: {kind: sum(block_queries[attack][kind] for _, block_queries in blocks) for kind in ("forward", "gradient")}
        for attack in attacks
    }
    card = {
        "protocol": protocol,
        "norm": norm,
        "radii": radii,
        "noise": noise,
        "search": search,
        "seed": seed,
        "attacks": {name: attack.settings for name, attack in attacks.items()},
        "queries": queries,
    }
    return BreakingRadii(pd.concat([rows for rows, _ in blocks], ignore_index=True), card)


@dataclass(frozen=True)
class _Evaluation:
    """One protocol against one view of one model."""

    attacks: Mapping[str, Attack]
    norm: Norm
    radii: Tensor
    search: Callable[..., Tensor]
    view: View
    seed: int
    progress: Progress

    def block(
        self, x: Images, y: Labels, ids: Int[Tensor, " batch"], batch_size: int
    ) -> tuple[pd.DataFrame, dict[str, dict[str, int]]]:
        """Rows of the table, and the queries of each attack."""
        draw = sample_draw(self.seed, ids)
        clean_block = _Block(victim(self.view, draw.fold("clean"), batch_size=batch_size), x, y, ids)
        logits, gradient = self._clean(clean_block)
        correct = (logits.argmax(1) == y).nonzero().squeeze(1)
        columns, queries = {}, {}
        best = torch.full((len(correct),), len(self.radii), device=x.device)
        for name, attack in self.attacks.items():
            attacked = victim(self.view, draw[correct].fold(name), batch_size=batch_size)
            survivors = _Block(attacked, x[correct], y[correct], ids[correct])
            index = self._smallest_index(name, attack, survivors, best)
            best = torch.minimum(best, index)
            column = torch.zeros(len(x), device=x.device)
            column[correct] = torch.cat([self.radii, self.radii.new_tensor([torch.inf])])[index]
            columns[name] = column.cpu().numpy()
            queries[name] = asdict(attacked.queries)
            self.progress(name, len(x))
        zero_gradient = (gradient.flatten(1) == 0).all(1)
        samples = {"sample": ids, "label": y, "prediction": logits.argmax(1), "zero_gradient": zero_gradient}
        return pd.DataFrame({name: values.cpu().numpy() for name, values in samples.items()} | columns), queries

    def _clean(self, block: _Block) -> tuple[Tensor, Images]:
        logits, gradient = block.victim.loss_gradient(block.x, block.y, cross_entropy)
        if not logits.isfinite().all():
            raise BadInput(f"the model's logits are not finite on samples {_named(block.ids[~logits.isfinite().all(1)])}")
        return logits, gradient

    def _smallest_index(self, name: str, attack: Attack, block: _Block, guess: Tensor) -> Tensor:
        if attack.minimal:
            return self._index_of_distance(name, attack, block)

        def breaks_at(samples: Tensor, radius_index: Tensor) -> Bool[Tensor, " batch"]:
            if not len(samples):
                return torch.zeros(0, dtype=torch.bool, device=samples.device)
            return self._breaks(name, attack, block[samples], self.radii[radius_index])

        return self.search(breaks_at, len(self.radii), guess)

    def _breaks(self, name: str, attack: Attack, block: _Block, eps: Tensor) -> Bool[Tensor, " batch"]:
        draw = sample_draw(self.seed, block.ids).fold(name)
        x_adv = self._attacked(name, attack, block, (eps, draw))
        outside = self.norm.distance(x_adv, block.x) > eps + BALL_TOLERANCE
        if outside.any():
            raise RunFailed(f"attack {name!r} left the ball on samples {_named(block.ids[outside])}")
        return block.victim.logits(x_adv).argmax(1) != block.y

    def _index_of_distance(self, name: str, attack: Attack, block: _Block) -> Tensor:
        draw = sample_draw(self.seed, block.ids).fold(name)
        x_adv = self._attacked(name, attack, block, (draw,))
        fooled = block.victim.logits(x_adv).argmax(1) != block.y
        distance = torch.where(fooled, self.norm.distance(x_adv, block.x), torch.inf)
        return torch.searchsorted(self.radii + BALL_TOLERANCE, distance)

    def _attacked(self, name: str, attack: Attack, block: _Block, rest: tuple[object, ...]) -> Images:
        if not len(block.x):
            return block.x
        try:
            x_adv = attack.function(block.victim, block.x, block.y, *rest, self.norm, **attack.settings)
        except (BadInput, RunFailed):
            raise
        except Exception as error:
            raise RunFailed(f"attack {name!r} raised on samples {_named(block.ids)}: {error!r}") from error
        if x_adv.shape != block.x.shape:
            raise RunFailed(f"attack {name!r} returned shape {tuple(x_adv.shape)} on samples {_named(block.ids)}")
        invalid = ~((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(1)
        if invalid.any():
            raise RunFailed(f"attack {name!r} left [0, 1] or is not finite on samples {_named(block.ids[invalid])}")
        return x_adv


def _check_samples(x: Tensor, y: Tensor, ids: Tensor) -> None:
    if x.ndim != 4 or len(x) == 0:
        raise BadInput(f"x has shape {tuple(x.shape)}; it is (samples, channels, height, width), one sample or more")
    if y.shape != (len(x),) or ids.shape != (len(x),):
        raise BadInput(f"x holds {len(x)} samples, y has shape {tuple(y.shape)} and ids {tuple(ids.shape)}")
    if x.dtype != torch.uint8 and not bool(((x >= 0) & (x <= 1)).all()):
        raise BadInput("x holds pixels outside [0, 1] or NaN; scale them, and let the model normalise inside")


def _default_batch_size(x: Tensor, device: torch.device) -> int:
    # On a CPU what fits the cache is fastest: 64 digits of 28 × 28.
    return 1024 if device.type == "cuda" else int(np.clip(2**16 // x[0].numel(), 16, 1024))


def _named(ids: Tensor) -> str:
    shown = ", ".join(str(int(i)) for i in ids[:5])
    return f"[{shown}{', …' if len(ids) > 5 else ''}]"
