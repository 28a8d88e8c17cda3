"""`python -m benchmarks.certificates [--networks 2000] [--seed 0]`: random small networks, and whether any image shows
a certificate to be too large: bounds of whole balls by plain linear bounds and by optimised slopes and intervals, and
of their parts where ReLUs, and max-pools written with ReLUs, are on or off. Prints how many were accepted and refused,
by reason; ends with 1 where one is unsound.
"""

import argparse
import random
import re
import warnings
from collections import Counter

import torch
from torch import Tensor

from ibrobust.certificates.certificate import certified_margins, piecewise_linear_network
from ibrobust.certificates.cut_pooling import with_pooling_cut
from ibrobust.certificates.domains import Ball, Domain, better_cuts, bounded
from ibrobust.certificates.effort import Budget, Effort
from ibrobust.certificates.linear_bounds import Network, linear_bounds
from ibrobust.certificates.refined import refined
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
    gaps, unsound, gained, accepted, pools, number = [], 0, 0, 0, 0, options.seed - 1
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
        cut = with_pooling_cut(network)
        pools += len(cut) > len(network)
        for eps in (1e-4, 0.03, 0.3):
            bounds = certified_margins(network, x.double(), y, torch.full((2,), eps + 1e-6, dtype=torch.float64))
            found = worst_margins(model, x, y, eps)
            better = branched_margins(cut, x[:1].double(), int(y[0]), eps + 1e-6)
            gained += int((better > bounds[0] + 1e-9).any())
            excess = max(float((bounds - found).max()), float((better - found[0]).max()))
            if not excess <= 0:
                unsound += 1
                print(f"UNSOUND: network {number} at {eps}, too large by {excess:.3g}\n{model}", flush=True)
            if eps == 1e-4:
                gaps.append(float(((found - bounds) / found.abs().amax().clamp(min=1e-3)).max()))
    print(f"{accepted} accepted, {unsound} bounds above what an image shows; layers: {dict(operations.most_common())}")
    print(f"{gained} of {3 * accepted} balls have larger bounds by optimised slopes and two rounds of cuts")
    print(f"max-pools of {pools} networks are cut")
    print(
        f"gap at 1e-4, as a share of the largest margin: median {sorted(gaps)[len(gaps) // 2]:.2g}, max {max(gaps):.2g}"
    )
    print(f"{sum(refused.values())} refused:")
    for reason, count in refused.most_common():
        print(f"{count:5d}  {reason[:150]}")
    return int(unsound > 0)


def branched_margins(network: Network, x: Tensor, label: int, eps: float) -> Tensor:
    """Lower bounds of one image's margins: the smallest among the parts that two rounds of cuts make of its ball."""
    with torch.no_grad():
        ball = Ball(linear_bounds(network, (x - eps).clamp(min=0), (x + eps).clamp(max=1)), label)
    ball = Ball(refined(ball, Budget(Effort(branches=0))), label)
    classes = ball.bounds.box[-1][0].shape[1]
    domains = [Domain(target) for target in range(classes) if target != label]
    margins = torch.full((classes,), torch.inf, dtype=torch.float64).scatter(0, torch.tensor([label]), 0)
    for cuts in range(3):
        domains = bounded(ball, domains, steps=5, enough=torch.inf).domains
        if cuts == 2:
            break
        whole = [domain for domain in domains if not domain.candidates]
        cut = [domain for domain in domains if domain.candidates]
        domains = whole + [side for pair in (better_cuts(ball, cut) if cut else []) for side in pair]
    for domain in domains:
        margins[domain.target] = min(float(margins[domain.target]), domain.lower)
    return margins


if __name__ == "__main__":
    raise SystemExit(main())
