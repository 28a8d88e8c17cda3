"""How much of a small adversarially trained network's robustness is certain, and what it costs. One thread.

python -m benchmarks.certified_share --data mnist --eps 0.1 --trained 0.3 --weights FOLDER
python -m benchmarks.certified_share --data FOLDER_OF_CIFAR --eps 2/255 --trained 2/255 --steps 300 --weights FOLDER

Prints the share of samples that is certain at the radius, by plain linear bounds, by optimised slopes and intervals,
and by branching for some seconds a sample, with seconds a sample (by the clock, and of the CPU), below the share that
attacks leave. In pieces of some samples, whose rows are kept in a file and added up:

python -m benchmarks.certified_share … --first 10 --samples 10 --seconds 60 --table shares.csv
"""

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.pieces import kept
from benchmarks.victims import ARCHITECTURES, adversarially_trained, benchmark_data
from ibrobust import breaking_radii
from ibrobust.certificates.certificate import certified_eps_N
from ibrobust.certificates.effort import Effort
from ibrobust.datasets import Dataset
from ibrobust.images import as_images
from ibrobust.robustness.radii import parse_radii


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist", help="as `evaluate --data` takes it")
    parser.add_argument("--model", choices=sorted(ARCHITECTURES), default="strided")
    parser.add_argument("--trained", default="0.3", help="radius of the adversarial training")
    parser.add_argument("--steps", type=int, default=800, help="batches of 128 of it")
    parser.add_argument("--eps", default="0.1", help="radius that is certified")
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="of the samples, in the order in which they are drawn")
    parser.add_argument("--table", type=Path, help="CSV file that keeps the rows, and adds up pieces")
    parser.add_argument("--without", nargs="*", default=[], choices=["CROWN", "α-CROWN"], help="bounds left out")
    parser.add_argument("--seconds", type=float, nargs="*", default=[1, 10, 60])
    parser.add_argument("--branches", type=int, nargs="*", default=[], help="likewise, for so many branches a sample")
    parser.add_argument("--protocol", default="paper", help="attacks beside it; effort ends where they succeed")
    parser.add_argument("--weights", type=Path, help="folder where trained weights are kept for the next time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    data, (eps,) = benchmark_data(options.data), parse_radii(options.eps)
    model = trained(options, data)
    rows = torch.randperm(len(data.test), generator=torch.Generator().manual_seed(0))
    rows = rows[options.first : options.first + options.samples]
    x, y = as_images(data.test.x[rows]), data.test.y[rows]
    attacked = breaking_radii(model, x, y, eps=[eps], protocol=options.protocol, columns="standing", health="ignore")
    left = attacked.all_attacks_N > np.float32(eps)
    print(f"{options.model} on {options.data}, trained at {options.trained}; {len(x)} samples at ε = {options.eps}")
    print(
        f"clean {attacked.clean:.3f}; {options.protocol} leaves {left.mean():.3f}; of those {int(left.sum())}:",
        flush=True,
    )
    efforts: list[tuple[str, Effort | None]] = [("CROWN", None), ("α-CROWN", Effort(branches=0))]
    efforts += [(f"branching, {count} branches", Effort(branches=count)) for count in options.branches]
    efforts += [(f"branching, {seconds:g} s", Effort(seconds=seconds)) for seconds in options.seconds]
    asked = {key: getattr(options, key) for key in ("model", "data", "trained", "steps", "eps", "protocol")}
    for name, effort in efforts:
        if name in options.without:
            continue
        certain, clock, cpu = certified(model, x[left], y[left], eps, effort)
        row = {**asked, "bounds": name, "first": options.first, "samples": len(x), "left": int(left.sum())}
        row |= {"certain": certain, "clock": round(clock, 2), "cpu": round(cpu, 2)}
        print(_said(row), flush=True)
        table = kept(options.table, row, [*asked, "bounds", "first", "samples"])
        if options.table:
            pieces = table[(table[[*asked]].astype(str) == pd.Series(asked).astype(str)).all(axis=1)]
            pieces = pieces[pieces["bounds"] == name]
            if len(pieces) > 1:
                print(f"{'all pieces of it':>26}  {_said({**row, **pieces.iloc[:, -5:].sum()})}", flush=True)


def _said(row: dict[str, Any]) -> str:
    each, share = max(1, row["left"]), row["certain"] / row["samples"]
    return (
        f"{row['bounds']:>26}: {row['certain']:.0f} of {row['samples']:.0f} certain, a share of "
        f"{share:.3f}; {row['clock'] / each:.2f} s a sample, {row['cpu'] / each:.2f} of the CPU"
    )


def certified(model: nn.Module, x: Tensor, y: Tensor, eps: float, effort: Effort | None) -> tuple[int, float, float]:
    """How many samples are certain at the radius; seconds by the clock and of the CPU."""
    if not len(x):
        return 0, 0.0, 0.0
    began = time.perf_counter(), time.process_time()
    found = certified_eps_N(model, x, y, [eps], effort=effort)
    return int((found > 0).sum()), time.perf_counter() - began[0], time.process_time() - began[1]


def trained(options: argparse.Namespace, data: Dataset) -> nn.Module:
    (radius,) = parse_radii(options.trained)
    name = f"{options.model}-{Path(options.data).name}-{radius:g}-{options.steps}.pt"
    file = options.weights / name if options.weights else None
    if file and file.exists():
        model = ARCHITECTURES[options.model](data.shape, data.classes)
        model.load_state_dict(torch.load(file, weights_only=True))
        return model.eval()
    model = adversarially_trained(options.model, data, eps=radius, steps=options.steps)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), file)
    return model


if __name__ == "__main__":
    main()
