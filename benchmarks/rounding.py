"""How far does rounding alone move a trained network's robustness, and how far do other crops of the same images?

python -m benchmarks.rounding RUN --times 3 --eps 0.008    trains the run's recipe anew, weights nudged after an epoch
python -m benchmarks.rounding RUN --times 3 --eps 0.008 --crops    with other random numbers for its crops

A training on another device adds up in another order, so that weights differ by some parts in ten million, and drift
apart from there. Here the same recipe, seed and device are kept, every weight is multiplied by 1 + 1e-7 · a normal
number after the first epoch, and what PGD leaves of the same test images is compared. `--nudge 0 --times 1` trains
the run as it is: the same weights on the machine that trained it. A GPU draws other random numbers from the same seed,
so that the crops and the noise there are others, too, though first weights and the order of the images are not.
"""

import argparse
import os
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from ibrobust import breaking_radii
from ibrobust.cpu.allocator import keep_freed_memory
from ibrobust.datasets import Dataset
from ibrobust.learning.augmentation import AUGMENTATIONS
from ibrobust.learning.training import train
from ibrobust.models.bottleneck import Bottleneck
from ibrobust.recipe import Recipe
from ibrobust.subjects.zoo import find_runs

_NUDGE = 1e-7
"""About the relative distance of neighbouring float32 numbers."""


def nudged(recipe: Recipe, data: Dataset, seed: int, *, size: float = _NUDGE) -> Bottleneck:
    """The recipe's network whose every weight was multiplied by 1 + size · a normal number after the first epoch."""

    @torch.no_grad()
    def nudge(epoch: int, model: Bottleneck) -> None:
        if epoch == 1:
            generator = torch.Generator().manual_seed(seed)
            for parameter in model.parameters():
                parameter.mul_(1 + size * torch.randn(parameter.shape, generator=generator))

    return train(recipe, data, observe=nudge).model


def recropped(recipe: Recipe, data: Dataset, seed: int) -> Bottleneck:
    """The recipe's network, whose augmentation draws from a generator with this seed instead of the recipe's."""
    own, generator = AUGMENTATIONS[recipe.augment], torch.Generator().manual_seed(seed)

    def other(x: Tensor, _recipes: torch.Generator) -> Tensor:
        return own(x, generator)

    name = f"{recipe.augment}-{seed}"
    AUGMENTATIONS[name] = other
    try:
        return train(recipe.model_copy(update={"augment": name}), data).model
    finally:
        del AUGMENTATIONS[name]


def left_of(model: Bottleneck, data: Dataset, radius: float, samples: int) -> dict[str, float]:
    """The clean share of the first test samples and what PGD leaves of them."""
    part = data.test[:samples]
    found = breaking_radii(model, part.x, part.y, eps=[radius], attacks=["pgd"])
    return {"clean": found.clean, "pgd": float(found.robust_EN[-1].mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--times", type=int, default=3, help="networks that are trained")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--nudge", type=float, default=_NUDGE)
    how.add_argument("--crops", action="store_true")
    parser.add_argument("--first", type=int, default=0, help="the first seed of nudges or crops")
    parser.add_argument("--eps", type=float, required=True)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("IBROBUST_DATA"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    (run,) = find_runs([options.run])
    data, recipe = run.data(data_dir=options.data_dir, download=False), run.card.recipe
    rows = [{"network": "as released", **left_of(run.model(), data, options.eps, options.samples)}]
    print(rows[-1], flush=True)
    for seed in range(options.first, options.first + options.times):
        model = recropped(recipe, data, seed) if options.crops else nudged(recipe, data, seed, size=options.nudge)
        what = f"crops of seed {seed}" if options.crops else f"nudged by {options.nudge:g}"
        rows.append({"network": what, **left_of(model, data, options.eps, options.samples)})
        print(rows[-1], flush=True)
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
