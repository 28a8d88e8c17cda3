"""How far does rounding alone move a trained network's robustness?

python -m benchmarks.rounding RUN --times 3 --eps 0.008    trains the run's recipe anew, weights nudged after an epoch

A training on another device adds up in another order, so that weights differ by some parts in ten million, and drift
apart from there. Here the same recipe, seed and device are kept, every weight is multiplied by 1 + 1e-7 · a normal
number after the first epoch, and what PGD leaves of the same test images is compared. `--nudge 0 --times 1` trains
the run as it is: the same weights on the machine that trained it.
"""

import argparse
import os
from pathlib import Path

import pandas as pd
import torch

from ibrobust import breaking_radii
from ibrobust.cpu.allocator import keep_freed_memory
from ibrobust.datasets import Dataset
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


def left_of(model: Bottleneck, data: Dataset, radius: float, samples: int) -> dict[str, float]:
    """The clean share of the first test samples and what PGD leaves of them."""
    part = data.test[:samples]
    found = breaking_radii(model, part.x, part.y, eps=[radius], attacks=["pgd"])
    return {"clean": found.clean, "pgd": float(found.robust_EN[-1].mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--times", type=int, default=3, help="networks that are trained")
    parser.add_argument("--nudge", type=float, default=_NUDGE)
    parser.add_argument("--eps", type=float, required=True)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("IBROBUST_DATA"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    (run,) = find_runs([options.run])
    data, recipe = run.data(data_dir=options.data_dir, download=False), run.card.recipe
    rows = [{"nudge": "as released", **left_of(run.model(), data, options.eps, options.samples)}]
    print(rows[-1], flush=True)
    for seed in range(options.times):
        model = nudged(recipe, data, seed, size=options.nudge)
        rows.append({"nudge": f"{options.nudge:g}", **left_of(model, data, options.eps, options.samples)})
        print(rows[-1], flush=True)
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
