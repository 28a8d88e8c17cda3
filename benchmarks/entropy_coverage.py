"""How often does the interval of a latent's entropy hold the truth, how wide is it, and how far off is the number?

python -m benchmarks.entropy_coverage [repeats]: twelve laws, 500 samples of 2000 inputs each time.
"""

import sys
import time

import pandas as pd
import torch
from torch import nn

from benchmarks.latent_laws import LatentLaw, laws
from ibrobust.entropies.calibration import EntropyEstimate, Neighbours
from ibrobust.entropies.encoding_entropy import encoding_entropy, known_of
from ibrobust.models.bottleneck import Bottleneck

SAMPLES, INPUTS = 500, 2000


def estimate(law: LatentLaw, seed: int, *, samples: int = SAMPLES, inputs: int = INPUTS) -> EntropyEstimate:
    """I[X;Z] of one draw of the law, as the package measures it; the inputs beyond the samples tighten the bounds."""
    model = Bottleneck(
        nn.Identity(), nn.Linear(law.dims, 2), noise=law.noise, pixel_mean=torch.zeros(1), pixel_std=torch.ones(1)
    )
    whole = law.encoded(inputs, seed)
    (encoding, y), more = whole.rows(slice(samples)), whole.rows(slice(samples, None)) if inputs > samples else None
    known = known_of(model, encoding, y, more, seed=seed)
    return encoding_entropy(model, encoding, y, Neighbours(repeats=1, seed=seed), known=known) - known.floor.nats


def coverage(law: LatentLaw, repeats: int) -> dict[str, object]:
    """One row of the table."""
    truth = law.information()
    found = [estimate(law, seed) for seed in range(repeats)]
    widths = pd.Series([one.high - one.low for one in found])
    told = pd.Series([one.told - truth for one in found]).dropna()
    return {
        "law, dimensions": law.name,
        "truth": truth,
        "held": sum(one.low <= truth <= one.high for one in found) / repeats,
        "low": pd.Series([one.low for one in found]).median(),
        "high": pd.Series([one.high for one in found]).median(),
        "width": widths.median(),
        "told": len(told) / repeats,
        "off": told.abs().max(),
        "k-NN, raw": pd.Series([one.nats - truth for one in found]).median(),
        "less its bias": pd.Series([one.calibrated - truth for one in found]).median(),
    }


def main(repeats: int) -> None:
    start = time.process_time()
    rows = []
    for law in laws():
        rows.append(coverage(law, repeats))
        print(rows[-1], file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format="{:.2f}".format, na_rep=""))
    seconds = time.process_time() - start
    print(f"held in {table['held'].mean():.1%} of {repeats * len(rows)} draws; {seconds:.0f} CPU-seconds")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
