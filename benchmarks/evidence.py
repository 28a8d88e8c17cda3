"""The adversarial images beside released results: made again, and refused unless they prove every breaking radius.

    python -m benchmarks.evidence zoo/results/strict/digits-mlp-none-g0-s0-cfa64d5e.parquet

Of each broken sample the results say which attacks broke it at its smallest radius. Those attacks are run again, one
after the other, on the samples that they are to prove and that have no image yet. The images lie in `images/` beside
the results and carry their card; the results stay as they are.
"""

import argparse
import os
from itertools import product
from pathlib import Path

import numpy as np
import torch

from ibrobust.experiments.subject import run_subject
from ibrobust.experiments.verification import verified
from ibrobust.robustness.breaking_radii import radii_that_break
from ibrobust.robustness.evidence import Evidence, evidence_path, joined_evidence, save_evidence
from ibrobust.robustness.question import Execution, make_question
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.samples import usable_samples
from ibrobust.robustness.settings import Settings
from ibrobust.robustness.storage import load_results
from ibrobust.subjects.zoo import Run, find_runs


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the images that prove released results.")
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("IBROBUST_DATA"))
    options = parser.parse_args()
    runs = {run.card.run: run for run in find_runs([Path("zoo"), Path("zoo/mnist")])}
    for path in options.results:
        claimed = load_results(path)
        assert isinstance(claimed, BreakingRadii)
        run = runs[claimed.card.run]
        save_evidence(proof(run, claimed, options.data_dir), claimed.card, evidence_path(path))
        outcome = verified(path, run.model(), run.card.weights_sha256, None)
        if outcome.faults:
            evidence_path(path).unlink()
        print(f"{outcome}", flush=True)


def proof(run: Run, claimed: BreakingRadii, data_dir: Path | None) -> Evidence:
    """For each broken sample an image of an attack that the claim says broke it at its smallest radius."""
    smallest, rows, model = claimed.all_attacks_N, claimed.rows, run.model()
    test = run_subject(run, data_dir=data_dir, download=False).test
    lacking, parts = np.isfinite(smallest), []
    place = {sample: at for at, sample in enumerate(rows["sample"])}
    for attack, radius in product(claimed.attacks, claimed.card.settings.radii):
        reached = rows[attack].to_numpy(np.float32) == np.float32(radius)
        chosen = np.flatnonzero(lacking & reached & (smallest == np.float32(radius)))
        if not len(chosen):
            continue
        ids = torch.from_numpy(rows["sample"].to_numpy()[chosen])
        asked = {"protocol": Settings().protocol, "attacks": (attack,), "eps": (radius,)}
        samples = usable_samples(*vars(test[ids]).values(), ids)
        settings = claimed.card.settings.model_copy(update=asked)
        found = radii_that_break(make_question(model, samples, settings, Execution(kept="best"))).evidence
        assert found is not None
        lacking[[place[sample] for sample in found.rows["sample"]]] = False
        parts.append(found)
    return joined_evidence(parts)


if __name__ == "__main__":
    main()
