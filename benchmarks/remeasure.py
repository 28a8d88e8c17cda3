"""Measure what released runs keep of their input again, from their weights, by the rules of today.

python -m benchmarks.remeasure zoo/runs zoo/mnist --results zoo/results

It changes the metrics in the card of each run and in the cards of its results and of their images, and the digests by
which `audit.csv` knows those results: no row, no image, no weight and no finding. It prints whether the number told
before lies in the interval of now. Each run is whole when the next begins, so that what was stopped goes on with the
runs that are left.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ibrobust.commands.train import MEASURED
from ibrobust.datasets import Split
from ibrobust.entropies.quantities import summary
from ibrobust.files import written_whole
from ibrobust.result_folders import result_files
from ibrobust.robustness.evidence import evidence_path, load_evidence, save_evidence
from ibrobust.robustness.findings import FINDINGS, results_digest
from ibrobust.robustness.storage import card_in, load_results, save_results
from ibrobust.subjects.zoo import CARD, Run, find_runs

Metrics = dict[str, dict[str, float]]


def remeasured(run: Run, data_dir: Path | None) -> Metrics:
    """The metrics of the run as `train` would write them now."""
    data, model = run.data(data_dir=data_dir, download=False), run.model()
    splits: dict[str, Split] = {"train": data.train[:MEASURED], "test": data.test[:MEASURED]}
    return {name: summary(model, split.x, split.y) for name, split in splits.items()}


def replace_metrics(run: Run, metrics: Metrics, results: Path) -> int:
    """Write them into the run's card and into the cards of its results; how many results there are."""
    files = [path for path in result_files(results) if _is_of(path, run)]
    text = (results / FINDINGS).read_text(encoding="utf-8")
    for path in files:
        old = load_results(path)
        assert old.card.model is not None
        assert old.card.model.weights_sha256 == run.card.weights_sha256
        model = old.card.model.model_copy(update={"metrics": metrics})
        new = replace(old, card=old.card.model_copy(update={"model": model}))
        text = text.replace(results_digest(old), results_digest(new))
        save_results(new, path)
        if (images := evidence_path(path)).is_file():
            evidence, images_card = load_evidence(images)
            save_evidence(evidence, images_card.model_copy(update={"model": model}), images)
    with written_whole(results / FINDINGS) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="\n")
    # As text: a card of an earlier version says nothing of recipe fields that came later.
    card = json.loads((run.folder / CARD).read_text(encoding="utf-8")) | {"metrics": metrics}
    with written_whole(run.folder / CARD) as unfinished:
        unfinished.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
    return len(files)


def _is_of(path: Path, run: Run) -> bool:
    model = card_in(path).model
    return model is not None and model.run == run.card.run


def compared(old: Metrics, new: Metrics) -> list[str]:
    """For each split I[X;Z] before and now, and whether the number of before lies in the interval of now."""
    lines = []
    for split, values in new.items():
        name = "preserved_information" if "preserved_information_low" in values else "encoding_entropy"
        low, high = values[f"{name}_low"], values[f"{name}_high"]
        before, now = old[split].get(name, math.nan), values.get(name, math.nan)
        inside = "no number before" if math.isnan(before) else "inside" if low <= before <= high else "OUTSIDE"
        was = f"{old[split][f'{name}_low']:.2f} to {old[split][f'{name}_high']:.2f}"
        lines.append(f"{split}: {before:.2f} in {was}, now {now:.2f} in {low:.2f} to {high:.2f}: {inside}")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--results", type=Path, default=Path("zoo/results"))
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("IBROBUST_DATA"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for run in find_runs(options.runs):
        started = time.process_time()
        if run.model().noise.absent:
            print(f"{run.card.run}: no latent noise, and no information to measure", flush=True)
            continue
        metrics = remeasured(run, options.data_dir)
        files = replace_metrics(run, metrics, options.results)
        seconds = time.process_time() - started
        told = "; ".join(compared(run.card.metrics, metrics))
        print(f"{run.card.run}: {told} ({files} results, {seconds:.0f} CPU-seconds)", flush=True)


if __name__ == "__main__":
    main()
