"""The released images prove the released results, to us and to plain PyTorch; what is tampered with is named."""

import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from ibrobust.commands.verify import main as verify
from ibrobust.errors import BadInput, RunFailed
from ibrobust.robustness.evidence import CLEAN, evidence_path, load_evidence, save_evidence
from ibrobust.robustness.storage import load_results
from tests.conftest import ROOT

ZOO = ROOT / "zoo"
RELEASED = sorted((ZOO / "results").glob("*/images/*.parquet"))
RUN = "digits-mlp-none-g0-s0-cfa64d5e"
OTHER = "digits-mlp-l2-g0.1-s0-e99535be"
RESULTS = ZOO / "results" / "strict" / f"{RUN}.parquet"


def results_of(evidence: Path) -> Path:
    return evidence.parent.parent / evidence.name


@pytest.fixture
def copied(tmp_path):
    """The released results of one run with their images, to be tampered with."""
    path = tmp_path / "strict" / RESULTS.name
    for released in (RESULTS, evidence_path(RESULTS)):
        (tmp_path / released.relative_to(ZOO / "results")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(released, tmp_path / released.relative_to(ZOO / "results"))
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The verifier of `docs/verify.md`, as a file."""
    text = (ROOT / "docs" / "verify.md").read_text(encoding="utf-8")
    code = text[text.index("```python") + len("```python") : text.rindex("```")]
    assert "ibrobust." not in code
    script = tmp_path_factory.mktemp("plain") / "plain.py"
    script.write_text(code, encoding="utf-8")

    def run(results: Path) -> None:
        folder = next(place for place in (ZOO / "runs", ZOO / "mnist") if (place / results.stem).is_dir())
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "argv", ["plain.py", str(results), str(folder / results.stem)])
            runpy.run_path(str(script))

    return run


def test_all_of_it_holds_and_is_small(capsys):
    verify(["zoo"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines] == [path.stem for path in RELEASED]
    assert all(line.endswith(": holds") for line in lines)
    assert {path.stem.partition("-")[0] for path in RELEASED} == {"digits", "mnist"}
    assert {RUN, OTHER} <= {path.stem for path in RELEASED}
    assert all(len(load_results(results_of(path)).rows) >= 200 for path in RELEASED)
    assert sum(path.stat().st_size for path in RELEASED) < 6e6


def test_plain_pytorch_agrees(plain, capsys):
    verify(["zoo"])
    ours = [line.split() for line in capsys.readouterr().out.splitlines()]
    for path, words in zip(RELEASED, ours, strict=True):
        plain(results_of(path))
        theirs = capsys.readouterr().out
        assert theirs == f"{path.stem}: {words[3]} of {words[5]} samples proven broken\n"


def tampered(path: Path, change: str) -> int:
    """Change one image, or its row, of the evidence for a results file; the number of its sample."""
    evidence, card = load_evidence(evidence_path(path))
    at = int((evidence.rows["attack"] != CLEAN).to_numpy().argmax())
    if change == "pixel":
        evidence.images[at, 0, 0, 0] += 0.5 if evidence.images[at, 0, 0, 0] < 0.5 else -0.5
    else:
        evidence.rows.loc[at, "radius"] = np.float32(0.001)
    save_evidence(evidence, card, evidence_path(path))
    return int(evidence.rows["sample"][at])


@pytest.mark.parametrize(
    ("change", "fault", "said_plainly"),
    [
        ("pixel", "beyond the radius", "beyond the radius"),
        ("radius", "its radius is not that of the results", "beyond the radius"),
    ],
)
def test_a_tampered_pixel_or_radius_is_found_and_named(copied, plain, capsys, change, fault, said_plainly):
    sample = tampered(copied, change)
    with pytest.raises(RunFailed, match=f"1 of 1 results are not proven: {RUN}"):
        verify([str(copied)])
    assert f"{fault}: samples [{sample}]" in capsys.readouterr().out
    with pytest.raises(AssertionError, match=said_plainly):
        plain(copied)


def test_another_models_weights_are_found_and_named(copied, tmp_path, capsys):
    run = tmp_path / "runs" / RUN
    shutil.copytree(ZOO / "runs" / OTHER, run)
    card = run / "card.json"
    card.write_text(card.read_text(encoding="utf-8").replace(OTHER, RUN), encoding="utf-8")
    with pytest.raises(RunFailed, match=RUN):
        verify([str(copied), "--runs", str(tmp_path / "runs")])
    said = capsys.readouterr().out
    assert "the images were made for other weights than the model's (SHA-256 differs)" in said
    assert "not classified as its row says: samples [" in said
    shutil.copy(ZOO / "runs" / RUN / "card.json", card)
    with pytest.raises(BadInput, match="SHA-256"):
        verify([str(copied), "--runs", str(tmp_path / "runs")])


@pytest.mark.parametrize("kept", [0, 1000, 30_000])
def test_a_truncated_file_is_found_and_named(copied, kept):
    path = evidence_path(copied)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BadInput, match=f"{RUN}.parquet is not a whole file of evidence"):
        verify([str(copied)])
