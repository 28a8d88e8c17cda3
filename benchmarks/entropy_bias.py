"""How far off is a nearest-neighbour entropy of 5000 samples, raw and calibrated, where the truth is known?

python -m benchmarks.entropy_bias
"""

import pandas as pd
import torch

from ibrobust.entropies.calibration import calibrated_entropy
from tests.oracles_entropy import correlated_gaussian, laplace, separated_mixture, standard_gaussian

N = 5000


def bias_table() -> pd.DataFrame:
    """Errors in nats: of the estimate, of the calibrated one (with its standard error), and of the upper bound."""
    laws = [(law(dims), 1) for dims in (32, 128, 256) for law in (standard_gaussian, correlated_gaussian)]
    laws += [(laplace(dims), 1) for dims in (32, 256)]
    laws += [(separated_mixture(dims, 10), classes) for dims in (32, 256) for classes in (1, 10)]
    rows = []
    for law, classes in laws:
        z = law.sample(N, torch.Generator().manual_seed(0))
        estimate = calibrated_entropy(z, torch.arange(N) % classes)
        rows.append(
            {
                "law": law.name,
                "labels": "given" if classes > 1 else "",
                "truth": law.entropy,
                "raw": estimate.nats - law.entropy,
                "calibrated": estimate.calibrated - law.entropy,
                "±": estimate.bias_error,
                "upper bound": estimate.high - law.entropy,
            }
        )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    print(bias_table().to_string(index=False, float_format="{:.2f}".format))
