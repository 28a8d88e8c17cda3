"""A submission that nothing was computed for: released results and their audit, with images that lie in their balls but
fool nobody, and its parts, to be spoilt and written again."""

import hashlib
import json
import shutil
import stat
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ibrobust.commands import submit
from ibrobust.datasets import load_dataset
from ibrobust.files import released_zoo
from ibrobust.robustness.evidence import Evidence, evidence_path, save_evidence
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.storage import load_results

RUN = "digits-mlp-l2-g0.1-s0-e99535be"
RESULTS = f"results/strict/{RUN}.parquet"
IMAGES = f"results/strict/images/{RUN}.parquet"
AUDIT = "results/audit.csv"
CARD, HISTORY, WEIGHTS = (f"runs/{RUN}/{name}" for name in ("card.json", "history.csv", "weights.safetensors"))


def fabricated(folder: Path) -> None:
    """`results` and `runs` as after evaluate --keep-images and audit."""
    zoo = released_zoo()
    for source, name in (
        (zoo / "results" / "strict" / f"{RUN}.parquet", RESULTS), (zoo / "results" / "audit.csv", AUDIT),
        *((zoo / "runs" / RUN / Path(name).name, name) for name in (CARD, HISTORY, WEIGHTS)),
    ):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)
    results = load_results(folder / RESULTS)
    assert isinstance(results, BreakingRadii)
    save_evidence(_in_their_balls(results), results.card, evidence_path(folder / RESULTS))


def _in_their_balls(results: BreakingRadii) -> Evidence:
    broken = np.flatnonzero(np.isfinite(results.all_attacks_N))
    first = results.breaking_eps_AN[:, broken].argmin(0)
    rows = results.rows.iloc[broken]
    radius = results.all_attacks_N[broken]
    names = [results.attacks[place] if eps else "clean" for place, eps in zip(first, radius, strict=True)]
    about = pd.DataFrame({"sample": rows["sample"], "label": rows["label"], "attack": names, "radius": radius})
    x = load_dataset("digits").test.x[torch.from_numpy(rows["sample"].to_numpy().copy())]
    pushed = (x + torch.from_numpy(radius.copy())[:, None, None, None] * torch.where(x > 0.5, -1.0, 1.0)).clamp(0, 1)
    return Evidence(about.reset_index(drop=True), x, pushed)


def made(folder: Path) -> Path:
    """A submission that is accepted."""
    fabricated(folder)
    words = ["--results", str(folder / "results"), "--licence", "MIT", "--reference", "https://a.example/model"]
    out = folder / "made.zip"
    submit.main([str(folder / "runs" / RUN), *words, "--weights", "--out", str(out)])
    return out


def parts_of(path: Path) -> dict[str, bytes]:
    """Its files by name, the manifest first."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sealed(parts: dict[str, bytes], **said: object) -> dict[str, bytes]:
    """The parts under a manifest that has their sizes and digests, and says these things."""
    manifest = json.loads(parts["submission.json"]) | said
    files = {name: content for name, content in parts.items() if name != "submission.json"}
    manifest["files"] = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()
    }
    return {"submission.json": json.dumps(manifest).encode(), **files}


def written(parts: list[tuple[str, bytes]], path: Path, *, mode: int = stat.S_IFREG | 0o644, deflate: str = "") -> Path:
    """The parts as an archive, whatever their names; one of them compressed, the last of another mode."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")  # A name that is there twice.
        for place, (name, content) in enumerate(parts):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr = (mode if place == len(parts) - 1 else stat.S_IFREG | 0o644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED if name == deflate else zipfile.ZIP_STORED
            archive.writestr(info, content)
    return path
