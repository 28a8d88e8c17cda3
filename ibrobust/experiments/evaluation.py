"""From a run on disk, or anybody's model, to a results file: shard by shard, so that a killed evaluation goes on."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from ibrobust.attacks import PROTOCOLS, protocol_attacks
from ibrobust.backends import peer_breaking_radii
from ibrobust.datasets import Split, load_dataset
from ibrobust.errors import BadInput
from ibrobust.files import as_name
from ibrobust.robustness.breaking_radii import breaking_radii
from ibrobust.robustness.noisy_readings import noisy_readings
from ibrobust.robustness.question import Progress
from ibrobust.robustness.radii import parse_radii
from ibrobust.robustness.storage import Results, joined, load_results, save_results
from ibrobust.subjects.digests import digests
from ibrobust.subjects.foreign import load_model, module_name, require_healthy
from ibrobust.subjects.zoo import Run, versions
from ibrobust.tables import read_table, save_table

_USUAL: dict[str, Any] = {"search": "bisect", "columns": "own", "restarts": 1}
"""Settings where nothing else is said."""

TIMINGS = "timings.csv"

_SHARD = 1000
"""Samples between two saves: what a killed evaluation loses at most."""


@dataclass(frozen=True)
class Subject:
    """What is evaluated: a model, the samples to attack and the words for both in every result's card."""

    name: str
    model: Callable[[], nn.Module]
    test: Split
    card: dict[str, Any]


def run_subject(run: Run, *, data_dir: Path | None, download: bool) -> Subject:
    """A run on the test set of its own data.

    Raises:
        BadInput: the data is not what the run was trained on.
    """
    card = run.card
    data = run.data(data_dir=data_dir, download=download)
    described = {
        "model": card.model_dump(mode="json", include={"run", "recipe", "metrics", "noise", "weights_sha256"}),
        "data": data.card,
    }
    return Subject(card.run, run.model, data.test, described)


def foreign_subject(model: str, data: str, *, data_dir: Path | None, download: bool, layout: str = "auto") -> Subject:
    """Anybody's `FILE.py:FACTORY` on a data set's test part; `layout` as `load_dataset` takes it."""
    dataset = load_dataset(data, data_dir=data_dir, download=download, layout=layout)
    module = load_model(model)
    warnings = require_healthy(module, dataset.test.x, dataset.test.y)
    file, _, factory = model.rpartition(":")
    name = as_name(f"{Path(file).stem}-{factory}-{Path(data).stem}")
    described = {
        "model": {"run": name, "warnings": warnings, **digests(module, module_name(Path(file)))},
        "data": dataset.card,
    }
    return Subject(name, lambda: module, dataset.test, described)


def evaluate_subject(
    subject: Subject,
    samples: tuple[int, int] | None,
    settings: dict[str, Any],
    *,
    backend: str,
    batch_size: int | None,
    out: Path,
) -> tuple[Path, float | None]:
    """Attack the samples and save `out/<protocol>/<name>.parquet`; what is there with the same settings is kept.

    Args:
        samples: first and last + 1; all by default.
        settings: eps, protocol, norm, noise, seed, device, and search and columns if they are not the usual ones, as
            `breaking_radii` and `noisy_readings` take them; restarts, as `protocol_attacks` takes them.

    Returns:
        The file, and the seconds that it took; None where it was there.

    Raises:
        BadInput: there are fewer samples, or `breaking_radii` refuses.
    """
    settings = _USUAL | settings
    first, last = samples or (0, len(subject.test))
    if last > len(subject.test):
        raise BadInput(f"--samples {last}: {subject.name} has {len(subject.test)} test samples")
    path = out / settings["protocol"] / f"{_file_name(subject.name, first, last, settings, backend)}.parquet"
    card = _card(subject, settings, backend)
    if _stored(path, card, range(first, last)):
        return path, None
    began = time.perf_counter()
    unfinished = path.parent / ".unfinished" / path.stem
    model = subject.model().to(settings["device"])
    shards = []
    with tqdm(total=(last - first) * len(PROTOCOLS[settings["protocol"]]), desc=subject.name, disable=None) as bar:

        def progress(attack: str, count: int) -> None:
            bar.set_postfix_str(attack, refresh=False)
            bar.update(count)

        for rows in (range(start, min(start + _SHARD, last)) for start in range(first, last, _SHARD)):
            shard_path = unfinished / f"{rows.start}-{rows.stop}.parquet"
            shard = _stored(shard_path, card, rows)
            if not shard:
                shard = _attacked(
                    subject.test[rows.start : rows.stop], model, rows, settings, (backend, batch_size, progress)
                )
                shard = replace(shard, card={**shard.card, **card})
                save_results(shard, shard_path)
            shards.append(shard)
    save_results(joined(shards), path)
    shutil.rmtree(unfinished)
    return path, time.perf_counter() - began


def _attacked(
    split: Split, model: nn.Module, rows: range, settings: dict[str, Any], how: tuple[str, int | None, Progress]
) -> Results:
    backend, batch_size, progress = how
    common: dict[str, Any] = {
        "ids": torch.arange(rows.start, rows.stop),
        "batch_size": batch_size,
        "progress": progress,
    }
    noise, protocol, restarts = (settings[key] for key in ("noise", "protocol", "restarts"))
    shared = {key: settings[key] for key in ("eps", "protocol", "norm", "seed", "device")} | common
    searched = {key: settings[key] for key in ("search", "columns")}
    if backend == "native":
        shared["attacks"] = protocol_attacks(protocol, restarts=restarts)
        if noise == "mean":
            return breaking_radii(model, split.x, split.y, **searched, **shared)
        return noisy_readings(model, split.x, split.y, noise=noise, **shared)
    if noise != "mean":
        raise BadInput(f"--noise {noise}: backend {backend!r} sees the mean path only")
    if restarts != 1:
        raise BadInput(f"--restarts {restarts}: backend {backend!r} runs each attack once")
    return peer_breaking_radii(backend, model, split.x, split.y, columns=searched["columns"], **shared)


def save_timing(path: Path, results: Path, seconds: float) -> None:
    """One row per results file; apart from the results, which are the same bytes every time."""
    row = pd.DataFrame([{"protocol": results.parent.name, "results": results.stem, "seconds": round(seconds, 2)}])
    rows = pd.concat([timings(path), row]) if path.is_file() else row
    save_table(rows.drop_duplicates(["protocol", "results"], keep="last").sort_values(["protocol", "results"]), path)


def timings(path: Path) -> pd.DataFrame:
    """Raises:
    BadInput: the file is not a table of timings.
    """
    return read_table(path, columns=["protocol", "results"], numbers=["seconds"])


def _card(subject: Subject, settings: dict[str, Any], backend: str) -> dict[str, Any]:
    searched = ["search", "columns"] if settings["noise"] == "mean" else []
    kept = {key: settings[key] for key in ("protocol", "norm", "noise", *searched, "restarts", "seed")}
    return {**subject.card, **kept, "radii": parse_radii(settings["eps"]), "backend": backend, "versions": versions()}


def _stored(path: Path, card: dict[str, Any], samples: range) -> Results | None:
    """The results in a file if they are of exactly these samples and settings."""
    if not path.is_file():
        return None
    results = load_results(path)
    same = all(results.card.get(key, _USUAL.get(key)) == value for key, value in card.items())
    return results if same and list(results.sample_N["sample"]) == list(samples) else None


def _file_name(name: str, first: int, last: int, settings: dict[str, Any], backend: str) -> str:
    """The run's name and whatever is not the default; `@A-B` for a range of samples that does not start at 0."""
    usual = {"norm": "linf", "noise": "mean", "columns": "own"}
    special = [str(settings[key]).replace(":", "") for key, default in usual.items() if settings[key] != default]
    parts = [name, *special, *([backend] if backend != "native" else [])]
    return "--".join(parts) + (f"@{first}-{last}" if first else "")
