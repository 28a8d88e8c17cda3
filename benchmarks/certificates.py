"""`python -m benchmarks.certificates [--networks 2000] [--seed 0]`: random small networks, and whether any image shows
a certificate to be too large. Prints how many were accepted and refused, by reason; ends with 1 where one is unsound.
"""

import argparse
import random
import re
import warnings
from collections import Counter

import torch

from ibrobust.certificates.certificate import certified_margins, piecewise_linear_network
from ibrobust.errors import BadInput
from tests.random_networks import SHAPES, random_network, worst_margins


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    refused: Counter[str] = Counter()
    operations: Counter[str] = Counter()
    gaps, unsound, accepted, number = [], 0, 0, options.seed - 1
    while accepted < options.networks:
        number += 1
        choices = random.Random(number)
        torch.manual_seed(number)
        shape, classes = choices.choice(SHAPES), choices.choice([2, 3, 4])
        model = random_network(choices.choice, shape, classes).to(choices.choice([torch.float32] * 4 + [torch.float64]))
        x, y = torch.rand(2, *shape), torch.randint(classes, (2,))
        try:
            network = piecewise_linear_network(model, shape, x.device)
        except BadInput as reason:
            refused[
                re.sub(r".*no bounds for the operation |.*cannot be followed: | in \d.*?:|\(.*\)", "", str(reason))
            ] += 1
            continue
        accepted += 1
        operations.update({type(step.layer).__name__ for step in network})
        for eps in (1e-4, 0.03, 0.3):
            bounds = certified_margins(network, x.double(), y, torch.full((2,), eps + 1e-6, dtype=torch.float64))
            found = worst_margins(model, x, y, eps)
            if not (bounds <= found).all():
                unsound += 1
                print(
                    f"UNSOUND: network {number} at {eps}, too large by {(bounds - found).max():.3g}\n{model}",
                    flush=True,
                )
            if eps == 1e-4:
                gaps.append(float(((found - bounds) / found.abs().amax().clamp(min=1e-3)).max()))
    print(f"{accepted} accepted, {unsound} bounds above what an image shows; layers: {dict(operations.most_common())}")
    print(
        f"gap at 1e-4, as a share of the largest margin: median {sorted(gaps)[len(gaps) // 2]:.2g}, max {max(gaps):.2g}"
    )
    print(f"{sum(refused.values())} refused:")
    for reason, count in refused.most_common():
        print(f"{count:5d}  {reason[:150]}")
    return int(unsound > 0)


if __name__ == "__main__":
    raise SystemExit(main())
