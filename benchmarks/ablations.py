"""What regularisers, batch size and dropout do to information and to overfitting, over seeds (figures 4, G.1, G.4, G.7,
G.8, G.10 of the paper, small).

python -m ibrobust.train --recipe zoo/recipes/figure-G10-small.toml --seed 0     and 1, 2; likewise G8, G4 and G7
python -m benchmarks.ablations collect runs --out zoo/table/ablations.csv        from the runs' cards
python -m benchmarks.ablations table zoo/table/ablations.csv

Entropies are of the training images; with zero-entropy noise alone H[Z] is I[X;Z]. *residual* is the decoder
cross-entropy Hθ[Y|Z] there, in nats, with one sample of the noise for each image, dropout on; *overfit* is by how much
it is larger on the test images. The error is that of the mean path, dropout off.
"""

import argparse
import math
from pathlib import Path

import pandas as pd

from ibrobust.subjects.zoo import Run, find_runs
from ibrobust.tables import save_table

RECIPE = ["model", "reg", "gamma", "batch_size", "dropconnect", "dropout"]
NUMBERS = ["low", "high", "residual", "overfit", "test_error"]


def row_of(run: Run) -> dict[str, object]:
    """What a run is, and what its card says."""
    recipe, train, test = run.card.recipe, run.card.metrics["train"], run.card.metrics["test"]
    residual = train["decoder_cross_entropy"]
    return {
        "run": run.card.run,
        **{key: getattr(recipe, key) for key in [*RECIPE, "seed"]},
        "low": train.get("encoding_entropy_low", math.nan),
        "high": train.get("encoding_entropy_high", math.nan),
        "residual": residual,
        "overfit": test["decoder_cross_entropy"] - residual,
        "test_error": test["error"],
    }


def by_recipe(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, standard deviations in `*_sd`, and how many seeds."""
    grouped = rows.groupby(RECIPE, sort=True)
    spread = grouped[NUMBERS].std(ddof=1).add_suffix("_sd")
    return pd.concat([grouped[NUMBERS].mean(), spread, grouped.size().rename("seeds")], axis=1).reset_index()


def printed(table: pd.DataFrame) -> pd.DataFrame:
    """The same with each standard deviation behind its mean."""
    text = table[[*RECIPE, "seeds"]].copy()
    for name in NUMBERS:
        text[name] = [_cell(mean, sd) for mean, sd in zip(table[name], table[f"{name}_sd"], strict=True)]
    return text.rename(columns={"low": "H[Z] at least", "high": "H[Z] at most"})


def _cell(mean: float, spread: float) -> str:
    return f"{mean:.3f}" if math.isnan(spread) else f"{mean:.3f} ± {spread:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["collect", "table"])
    parser.add_argument("paths", type=Path, nargs="+", help="folders of runs, or the table that was collected")
    parser.add_argument("--out", type=Path, default=Path("ablations.csv"))
    options = parser.parse_args()
    if options.step == "collect":
        rows = pd.DataFrame([row_of(run) for run in find_runs(options.paths)]).sort_values([*RECIPE, "seed"])
        save_table(rows, options.out)
        print(f"{len(rows)} runs in {options.out}")
        return
    table = by_recipe(pd.concat([pd.read_csv(path) for path in options.paths], ignore_index=True))
    for model, rows in printed(table).groupby("model"):
        print(f"{model}\n{rows.drop(columns='model').to_string(index=False)}\n")


if __name__ == "__main__":
    main()
