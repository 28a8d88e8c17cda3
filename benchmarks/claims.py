"""What the paper's attacks say beside what strong ones say, by regulariser and γ.

python -m benchmarks.claims RESULTS…

RESULTS are folders of `strict` results: the paper's four attacks are its first, so either kind of columns will do.
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from ibrobust.commands.report import stored_results
from ibrobust.robustness.protocols import PROTOCOLS
from ibrobust.robustness.results import BreakingRadii

GROUP = ["dataset", "reg", "gamma", "adversarial", "noise"]


def row(result: BreakingRadii) -> dict[str, Any]:
    """One run: shares that survive FGSM, the paper's four and all, at the largest radius and on average over radii."""
    model, radii_E = result.card.model, result.radii_E
    assert model is not None, "of a trained run"
    survives = {
        name: result.rows[[*attacks]].min(axis=1).to_numpy("float32")[None] > radii_E[:, None]
        for name, attacks in (
            ("fgsm", ["fgsm"]),
            ("paper", PROTOCOLS["paper"].attacks),
            ("strict", PROTOCOLS["strict"].attacks),
        )
    }
    return {
        "dataset": result.card.dataset,
        **{key: getattr(model.recipe, key) for key in ("reg", "gamma", "adversarial")},
        "noise": model.noise,
        "n": len(result.rows),
        "clean": result.clean,
        **{f"{name}@{radii_E[-1]:g}": float(robust[-1].mean()) for name, robust in survives.items()},
        **{f"{name} avg": float(robust.mean()) for name, robust in survives.items()},
        "verdict": result.card.stated_verdict,
    }


def claims(results: list[BreakingRadii]) -> pd.DataFrame:
    """A row per data set, regulariser and γ: means over the seeds, their standard deviation after ±, and verdicts."""
    runs = pd.DataFrame([row(result) for result in results])
    numbers = [name for name in runs if name == "clean" or "@" in str(name) or "avg" in str(name)]
    lines = []
    for key, group in runs.groupby(GROUP, sort=True):
        mean, spread = group[numbers].mean(), group[numbers].std()
        shares = {name: f"{mean[name]:.3f}" + (f" ± {spread[name]:.3f}" if len(group) > 1 else "") for name in numbers}
        verdicts = " ".join(f"{count} {verdict}" for verdict, count in group["verdict"].value_counts().items())
        lines.append({**dict(zip(GROUP, key, strict=True)), "seeds": len(group), **shares, "verdicts": verdicts})
    return pd.DataFrame(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("results", type=Path, nargs="+", help="folders of strict results")
    folders = parser.parse_args().results
    strict = [
        result
        for result in stored_results(folders)
        if isinstance(result, BreakingRadii)
        and result.card.settings.protocol == "strict"
        and result.card.model
        and result.card.model.recipe
    ]
    if not strict:
        parser.error(f"no strict results of trained runs in {', '.join(map(str, folders))}")
    table = claims(strict)
    print("| " + " | ".join(table) + " |")
    print("|---" * len(table.columns) + "|")
    for line in table.astype(str).to_numpy():
        print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    main()
