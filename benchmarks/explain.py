"""What goes along with robustness? Quantities of each released model beside its strict robustness.

python -m benchmarks.explain measure RUNS… --out zoo/results/why.csv    from weights, half a minute a run; rows that the
                                                                        file holds are not measured again
python -m benchmarks.explain measure RUNS… --results zoo/table/mnist --out zoo/table/why.csv    beside other results
python -m benchmarks.explain table zoo/results/why.csv zoo/table/why.csv      partial correlations
python -m benchmarks.explain figures zoo/results/why.csv zoo/table/why.csv --out docs/images    a figure per quantity
"""

import argparse
import math
import os
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from benchmarks.partial_correlations import OUTCOME, QUANTITIES, correlations, quantity_figure
from ibrobust.certificates.certificate import certified_eps_N
from ibrobust.commands.stored_results import stored_results
from ibrobust.datasets import Dataset, Split
from ibrobust.entropies.calibration import Neighbours
from ibrobust.entropies.encoding_entropy import encoding_entropy, has_known_density, known_of
from ibrobust.entropies.mixture_bounds import Labelled
from ibrobust.entropies.quantities import encoded
from ibrobust.images import as_images, frozen
from ibrobust.models.bottleneck import Bottleneck
from ibrobust.robustness.claims import is_claim
from ibrobust.robustness.results import BreakingRadii
from ibrobust.subjects.zoo import Run, find_runs
from ibrobust.tables import save_table
from ibrobust.types import Labels

_LOOKED_AT, _CERTIFIED = 100, 20
_ENTROPY_SAMPLES, _MORE = 400, 4000
_STEP = 0.05
"""How far along the attack's direction the margin is followed, L∞."""


def measured_run(run: Run, claim: BreakingRadii, data: Dataset) -> dict[str, object]:
    """One row: the recipe, what attacks left, and the quantities, medians over test samples that are right."""
    model = run.model()
    samples = data.test[:_LOOKED_AT]
    x, y = as_images(samples.x), samples.y
    with frozen(model), torch.no_grad():
        kept = model.mean_path(x).argmax(1) == y
    robust_EN = claim.robust_EN
    recipe = run.card.recipe
    return {
        "run": run.card.run,
        "dataset": recipe.data,
        **{key: getattr(recipe, key) for key in ("reg", "gamma", "adversarial", "epochs", "seed")},
        "noise": run.card.noise,
        "n": robust_EN.shape[1],
        "clean": claim.clean,
        OUTCOME: float(robust_EN.mean()),
        "robust_last": float(robust_EN[-1].mean()),
        **geometry(model, x[kept], y[kept]),
        "certified": certified(model, x[kept], y[kept], float(claim.radii_E[-1])),
        **information(model, data.train),
    }


def geometry(model: Bottleneck, x: Tensor, y: Labels) -> dict[str, float]:
    """Margins, slopes and how straight the margin falls along the attack.

    `latent_margin`: distance of the mean latent to the nearest boundary of the linear decoder. `lipschitz`: largest
    singular value of the mean latent's Jacobian at the image. `logit_margin`: the label's logit less the largest other.
    `linear_radius`: the L∞ radius at which the nearest boundary would lie if the network were linear. `fall`: how much
    of the fall that the gradient promises a signed step of .05 takes off the margin, 1 for a straight one.
    """
    with frozen(model):
        z, jacobian = _latent_and_jacobian(model, x)
        weight, bias = model.decoder.weight.detach(), model.decoder.bias.detach()
        logits = z @ weight.T + bias
        own = torch.nn.functional.one_hot(y, len(bias)).bool()
        gaps = (logits.gather(1, y[:, None]) - logits).masked_fill(own, math.inf)
        apart = weight[y][:, None] - weight
        slopes = torch.einsum("nck,nkp->ncp", apart, jacobian)
        nearest = (gaps / slopes.abs().sum(2).masked_fill(own, 1.0)).argmin(1)
        rows = torch.arange(len(y))
        slope, gap = slopes[rows, nearest], gaps[rows, nearest]
        moved = x - _STEP * slope.sign().view_as(x)
        with torch.no_grad():
            after = model.mean_path(moved)
        lost = gap - (after[rows, y] - after[rows, nearest])
    medians = {
        "latent_margin": (gaps / apart.norm(dim=2).masked_fill(own, 1.0)).amin(1),
        "lipschitz": torch.linalg.matrix_norm(jacobian, ord=2),
        "logit_margin": gaps.amin(1),
        "linear_radius": gap / slope.abs().sum(1),
        "fall": lost / (_STEP * slope.abs().sum(1)),
    }
    return {name: float(values.median()) for name, values in medians.items()}


def _latent_and_jacobian(model: Bottleneck, x: Tensor) -> tuple[Tensor, Tensor]:
    """The mean latent and its derivative by each pixel, (batch, latent, pixels)."""
    x = x.clone().requires_grad_()
    with torch.enable_grad():
        z = model.distribution(x)[0]
        rows = [torch.autograd.grad(z[:, k].sum(), x, retain_graph=True)[0].flatten(1) for k in range(z.shape[1])]
    return z.detach(), torch.stack(rows, dim=1)


def certified(model: Bottleneck, x: Tensor, y: Labels, largest: float) -> float:
    """The mean radius, to a twentieth of the largest, within which nothing can change the prediction of a sample."""
    radii = [largest * step / 20 for step in range(1, 21)]
    return float(certified_eps_N(model, x[:_CERTIFIED], y[:_CERTIFIED], radii).mean())


def information(model: Bottleneck, split: Split) -> dict[str, float]:
    """I[X;Z] of training samples: the number where one is told, and the interval."""
    if not has_known_density(model):
        return {"information": math.nan, "information_low": math.nan, "information_high": math.nan}
    whole = split[: _ENTROPY_SAMPLES + _MORE]
    both = Labelled(encoded(model, whole.x), whole.y)
    samples, more = both.rows(slice(_ENTROPY_SAMPLES)), both.rows(slice(_ENTROPY_SAMPLES, None))
    known = known_of(model, samples.encoding, samples.y, more)
    found = encoding_entropy(model, samples.encoding, samples.y, Neighbours(repeats=2), known=known) - known.floor.nats
    return {"information": found.told, "information_low": found.low, "information_high": found.high}


def measure(places: list[Path], results: list[Path], data_dir: Path | None, out: Path) -> None:
    """Write a row for each run that has strict results, as soon as it is measured; one in the file is not measured."""
    claims = {
        result.card.run: result
        for result in stored_results(results)
        if isinstance(result, BreakingRadii) and is_claim(result) and result.card.settings.norm == "linf"
    }
    table = pd.read_csv(out) if out.is_file() else pd.DataFrame({"run": []})
    data: dict[str, Dataset] = {}
    for run in find_runs(places):
        if run.card.run not in claims or run.card.run in set(table["run"]):
            continue
        name = run.card.recipe.data
        if name not in data:
            data[name] = run.data(data_dir=data_dir, download=False)
        row = pd.DataFrame([measured_run(run, claims[run.card.run], data[name])])
        table = pd.concat([table, row], ignore_index=True) if len(table) else row
        table = table.sort_values(["dataset", "run"], ignore_index=True)
        save_table(table, out)
        print(run.card.run, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["measure", "table", "figures"])
    parser.add_argument("paths", type=Path, nargs="+", help="runs to measure, or the table that was measured")
    parser.add_argument("--results", type=Path, nargs="+", default=[Path("zoo/results")])
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("IBROBUST_DATA"))
    parser.add_argument("--out", type=Path, default=Path("why.csv"))
    options = parser.parse_args()
    if options.step == "measure":
        torch.set_num_threads(1)
        measure(options.paths, options.results, options.data_dir, options.out)
        return
    table = pd.concat([pd.read_csv(path) for path in options.paths], ignore_index=True)
    if options.step == "table":
        for name, rows in correlations(table).groupby("dataset", sort=False):
            print(f"{name}\n{rows.drop(columns='dataset').to_string(index=False)}\n")
        return
    for quantity in QUANTITIES:
        path = options.out / f"why-{quantity.replace('_', '-')}.png"
        quantity_figure(table, quantity).savefig(path, dpi=110)
        print(path)


if __name__ == "__main__":
    main()
